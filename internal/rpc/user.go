package rpc

import (
	"context"
	"net"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	// authorizationKey is the metadata that carries "Bearer <API key>".
	authorizationKey = "authorization"
	// ClientAddressKey is the metadata in which a frontdoor says for whom it calls.
	ClientAddressKey = "dialback-client-address"

	bearer = "bearer "
	// maxAddress is more than any address with its zone and port has.
	maxAddress = 128
)

// Authenticator says whose an API key is. What is not a good key is refused with
// a kind of Unauthenticated.
type Authenticator interface {
	// Authenticate judges a key that came from an address, which is slowed down if
	// too many of its keys are wrong.
	Authenticate(ctx context.Context, key secret.String, address string) (principal.Principal, error)
}

// The refusals of who does not say who it is.
var (
	errNoKey = errs.New(errs.Unauthenticated, errs.ReasonTokenMissing,
		`this needs an API key ("authorization: Bearer dbk_...") or an administrator's certificate`)
	errNotBearer = errs.New(errs.Unauthenticated, errs.ReasonTokenMissing,
		`the authorization must be one "Bearer dbk_..."`)
)

// WithKey returns a context whose calls present an API key.
func WithKey(ctx context.Context, key secret.String) context.Context {
	return metadata.AppendToOutgoingContext(ctx, authorizationKey, "Bearer "+key.Reveal())
}

// WithClientAddress returns a context whose calls say, from a frontdoor, for
// which client they are made.
func WithClientAddress(ctx context.Context, address string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, ClientAddressKey, address)
}

// ClientAddress returns where a call comes from, "host:port" or a host. A
// frontdoor's word on whom it calls for is believed, nobody else's.
func ClientAddress(ctx context.Context) string {
	if id, ok := Caller(ctx); ok && id.Role == tlsconf.RoleFrontdoor {
		if said := metadata.ValueFromIncomingContext(ctx, ClientAddressKey); len(said) == 1 && len(said[0]) <= maxAddress {
			return said[0]
		}
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		if tcp, ok := p.Addr.(*net.TCPAddr); ok {
			return tcp.AddrPort().String()
		}
		return p.Addr.String()
	}
	return ""
}

// principal returns the user behind a call: by the API key, or, where there is
// none, by an administrator's own certificate. A service's identity is nobody's.
func (g *guard) principal(ctx context.Context) (principal.Principal, error) {
	said := metadata.ValueFromIncomingContext(ctx, authorizationKey)
	if len(said) == 0 {
		if id, ok := Caller(ctx); ok && id.Role == tlsconf.RoleAdmin {
			return principal.Principal{Account: principal.DefaultAccount, Role: principal.Admin, Actor: "admin:" + id.Name}, nil
		}
		return principal.Principal{}, errNoKey
	}
	if len(said) > 1 || len(said[0]) < len(bearer) || !strings.EqualFold(said[0][:len(bearer)], bearer) {
		return principal.Principal{}, errNotBearer
	}
	return g.users.Authenticate(ctx, secret.String(strings.TrimSpace(said[0][len(bearer):])), ClientAddress(ctx))
}
