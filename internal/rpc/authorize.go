package rpc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dialback/dialback/internal/tlsconf"
)

// RoleAnyone stands in Methods for callers without a service identity: agents,
// whose credential the method itself judges.
const RoleAnyone = "anyone"

// Methods says which roles may call a method, by its full name
// ("/package.Service/Method"). What is not listed, nobody may call.
type Methods map[string][]string

// check reports methods that are served and not listed, and the reverse: a list
// that has drifted from the contract is found at start, not by a caller.
func (m Methods) check(services map[string]grpc.ServiceInfo) error {
	served := map[string]bool{}
	for service, info := range services {
		for _, method := range info.Methods {
			name := "/" + service + "/" + method.Name
			served[name] = true
			if len(m[name]) == 0 {
				return fmt.Errorf("nobody is listed who may call %s", name)
			}
		}
	}
	for name := range m {
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

func (m Methods) authorize(ctx context.Context, method string) error {
	roles := m[method]
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
