package rpc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/tlsconf"
)

// RoleAnyone stands in Methods.Internal for callers without a service identity:
// agents, and people who are about to log in, whose credential the method itself
// judges.
const RoleAnyone = "anyone"

// Methods says who may call a method, by its full name
// ("/package.Service/Method"). A method is in one of the lists, never in both:
// a gateway that calls with its own identity for a stranger would lend him that
// identity. What is in neither, nobody may call.
type Methods struct {
	// Internal methods are for services: the roles in certificates that may call.
	Internal map[string][]string
	// External methods are for users: the least role of a principal, whatever the
	// identity of the service that passes the call on.
	External map[string]principal.Role
}

// check reports methods that are served and not listed, the reverse, and those
// that are listed twice: a list that has drifted from the contract is found at
// start, not by a caller.
func (m Methods) check(services map[string]grpc.ServiceInfo) error {
	served := map[string]bool{}
	for service, info := range services {
		for _, method := range info.Methods {
			name := "/" + service + "/" + method.Name
			served[name] = true
			switch internal, external := len(m.Internal[name]) > 0, m.External[name] > principal.None; {
			case internal && external:
				return fmt.Errorf("%s is listed as internal and as external", name)
			case !internal && !external:
				return fmt.Errorf("nobody is listed who may call %s", name)
			}
		}
	}
	for name := range m.Internal {
		if !served[name] {
			return fmt.Errorf("%s is listed and not served", name)
		}
	}
	for name := range m.External {
		if !served[name] {
			return fmt.Errorf("%s is listed and not served", name)
		}
	}
	return nil
}

// Caller returns the identity in the peer's verified certificate.
func Caller(ctx context.Context) (tlsconf.Identity, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return tlsconf.Identity{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return tlsconf.Identity{}, false
	}
	id, err := tlsconf.IdentityOf(info.State.PeerCertificates[0])
	return id, err == nil
}

// authorize lets a caller in, or says why not. The context of an external call
// carries its principal.
func (g *guard) authorize(ctx context.Context, method string) (context.Context, error) {
	if least, ok := g.methods.External[method]; ok {
		return g.authorizeUser(ctx, method, least)
	}
	return ctx, g.methods.authorizeService(ctx, method)
}

func (m Methods) authorizeService(ctx context.Context, method string) error {
	roles := m.Internal[method]
	if slices.Contains(roles, RoleAnyone) {
		return nil
	}
	id, ok := Caller(ctx)
	if !ok {
		return ErrDenied.WithMessage("%s wants a client certificate with a service identity", method)
	}
	if !slices.Contains(roles, id.Role) {
		return ErrDenied.WithMessage("%s may not call %s; that is for: %s", id, method, strings.Join(roles, ", "))
	}
	return nil
}

func (g *guard) authorizeUser(ctx context.Context, method string, least principal.Role) (context.Context, error) {
	p, err := g.principal(ctx)
	if err != nil {
		return ctx, err
	}
	if least == principal.None || p.Role < least {
		return ctx, ErrDenied.WithMessage("%s has the role %s; %s is for %s and above", p.Actor, p.Role, method, least)
	}
	return principal.With(ctx, p), nil
}
