package ctl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/dialback/dialback/internal/datadir"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/restclient"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
)

// connection says where auth is and who calls.
type connection struct {
	Server      string `default:"127.0.0.1:7081" placeholder:"HOST:PORT" help:"Where auth, or dialbackd, listens for administrators (${default})."`
	Credentials string `default:"${credentials}" env:"DIALBACK_CREDENTIALS" type:"path" placeholder:"DIR" help:"Folder with admin.crt, admin.key and ca.crt; dialbackd writes one (${default})."`
	Cert        string `type:"path" placeholder:"FILE" help:"Administrator's certificate, PEM, instead of the one in --credentials."`
	Key         string `type:"path" placeholder:"FILE" help:"Its key, PEM."`
	CA          string `type:"path" placeholder:"FILE" help:"CA of the services' certificates, PEM."`
}

// dial connects to auth. What can be found out without it is found out here.
func (c *connection) dial() (*grpc.ClientConn, error) {
	certFile := either(c.Cert, c.Credentials, datadir.AdminCert)
	cert, err := tls.LoadX509KeyPair(certFile, either(c.Key, c.Credentials, datadir.AdminKey))
	if err != nil {
		return nil, c.missing(err)
	}
	pem, err := os.ReadFile(either(c.CA, c.Credentials, datadir.AdminCA)) // #nosec G304 -- the administrator's own choice
	if err != nil {
		return nil, c.missing(err)
	}
	pool, err := tlsconf.LoadPool(pem)
	if err != nil {
		return nil, fmt.Errorf("the CA's certificate: %w", err)
	}
	return rpc.Dial(rpc.ClientConfig{Target: "dns:///" + c.Server, TLS: tlsconf.ServiceClient(cert, pool, tlsconf.RoleAuth)})
}

func either(file, dir, name string) string {
	if file != "" {
		return file
	}
	return filepath.Join(dir, name)
}

func (c *connection) missing(err error) error {
	what := "the administrator's credentials cannot be used"
	if errors.Is(err, fs.ErrNotExist) {
		what = "the administrator's credentials are not there"
	}
	return fmt.Errorf("%s: %w; run dialbackctl as the user who runs dialbackd, on its machine, "+
		"or name the folder with --credentials or DIALBACK_CREDENTIALS", what, err)
}

// explain writes an error for a person: what is wrong, and what to do.
func (e *env) explain(err error, server string) string {
	said, ok := errs.From(err)
	if !ok {
		return err.Error()
	}
	switch cause := said.Unwrap(); {
	case said.Kind() == errs.Unavailable && isStatus(cause): // gRPC's own: nobody has answered
		return fmt.Sprintf("cannot reach auth at %s: %s; check that it runs, and its address with --server", server, transportError(cause))
	case errors.Is(err, restclient.ErrUnreachable):
		return strings.TrimSuffix(said.Error(), ": ") + "; check that it runs, and the context (dialbackctl config get-contexts)"
	case said.Reason() == errs.ReasonPermissionDenied && e.client != nil:
		return said.Message() + "; use a context with such a key (--context)"
	case said.Reason() == errs.ReasonPermissionDenied:
		return said.Message() + "; use an administrator's certificate"
	case said.Reason() == errs.ReasonInternal:
		return said.Message() + "; the log of auth says more"
	}
	return said.Message()
}

// isStatus tells what failed over gRPC from what failed over HTTP.
func isStatus(cause error) bool {
	_, ok := status.FromError(cause)
	return ok && cause != nil
}

// transportError drops what gRPC puts around the cause.
func transportError(err error) string {
	text := err.Error()
	for _, wrapping := range []string{"desc = ", "transport: ", "Error while dialing: ", "authentication handshake failed: "} {
		if i := strings.LastIndex(text, wrapping); i >= 0 {
			text = text[i+len(wrapping):]
		}
	}
	return strings.Trim(text, `"`)
}
