package httpproxy

import (
	"context"
	"net"
	"net/http"
	"slices"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/services/frontdoor/internal/basicauth"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// Capabilities are the critical options that this frontdoor knows.
var Capabilities = []string{"basic_auth", "pooling"}

// admit applies the endpoint's own policy. An option that must not be ignored
// and is not known closes the endpoint: served without it, it would be open.
// stripped says that the credentials were for us and are not the service's.
func (h *Handler) admit(ctx context.Context, c *route.Claim, r *http.Request) (stripped bool, err error) {
	for _, name := range c.Critical() {
		if !slices.Contains(Capabilities, name) {
			return false, reach.ErrUnsupported
		}
	}
	if len(c.Options()) == 0 {
		return false, nil
	}
	options := &agentv1.EndpointOptions{}
	if err := proto.Unmarshal(c.Options(), options); err != nil {
		return false, reach.ErrUnsupported.WithCause(err)
	}
	if len(options.GetBasicAuth()) == 0 {
		return false, nil
	}
	return true, h.authenticate(ctx, c, options.GetBasicAuth(), r)
}

func (h *Handler) authenticate(ctx context.Context, c *route.Claim, list []*agentv1.BasicAuth, r *http.Request) error {
	name, password, ok := r.BasicAuth()
	if !ok {
		return basicauth.ErrRequired
	}
	users := make([]basicauth.User, len(list))
	for i, u := range list {
		users[i] = basicauth.User{Name: u.GetUsername(), Salt: u.GetSalt(), Hash: u.GetHash()}
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	return h.auth.Check(ctx,
		basicauth.Endpoint{Hostname: c.Hostname, Generation: c.Generation, Revision: c.Revision},
		users, basicauth.Attempt{Name: name, Password: password, Address: address})
}
