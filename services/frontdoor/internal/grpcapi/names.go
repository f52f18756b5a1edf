package grpcapi

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/hostname"
)

// portPrefix begins the name of a port's endpoint.
const portPrefix = "tcp:"

var (
	errURL = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "that is not a URL")
	// errPort is of a port that is none.
	errPort = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, `that is not a port: write one like "tcp:20017"`)
)

// endpointOf returns the endpoint that a URL leads to; a name alone will do.
func endpointOf(text string) (string, error) {
	name, err := endpointIn(text)
	if e, ok := errs.From(err); ok {
		return "", e.WithField("url", e.Message())
	}
	return name, err
}

func endpointIn(text string) (string, error) {
	switch {
	case strings.HasPrefix(text, portPrefix) && !strings.HasPrefix(text, portPrefix+"//"):
		return nameOf(text)
	case !strings.Contains(text, "://"):
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", errURL.WithMessage("%q is not a URL; want one such as https://web.example.com/, a hostname, or tcp:20017", text)
	}
	if u.Scheme == "tcp" {
		return nameOf(portPrefix + u.Port())
	}
	return nameOf(u.Hostname())
}

// nameOf returns the canonical form of an endpoint's name.
func nameOf(name string) (string, error) {
	digits, isPort := strings.CutPrefix(name, portPrefix)
	if !isPort {
		return hostname.Normalize(name)
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 {
		return "", errPort
	}
	return portPrefix + strconv.FormatUint(port, 10), nil
}
