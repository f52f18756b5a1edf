package gateway

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/dialback/dialback/internal/rpc"
)

// authorizationKey is the metadata of a credential.
const authorizationKey = "authorization"

// caller is what services are told of who has sent a request.
type caller struct {
	// authorization is the credential, as it came.
	authorization string
	// address is the client's, which this frontdoor has seen or was told by a
	// proxy that it trusts.
	address string
}

type callerKey struct{}

func withCaller(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// carrier is a connection that carries the caller's credential and address, and
// no other metadata, whatever was put into the context on the way here: the
// frontdoor's own certificate must not lend its rights to a stranger's headers.
type carrier struct{ grpc.ClientConnInterface }

// Invoke implements grpc.ClientConnInterface.
func (c carrier) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.ClientConnInterface.Invoke(carried(ctx), method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (c carrier) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.ClientConnInterface.NewStream(carried(ctx), desc, method, opts...)
}

func carried(ctx context.Context) context.Context {
	who, _ := ctx.Value(callerKey{}).(caller)
	md := metadata.MD{}
	if isText(who.authorization) {
		md.Set(authorizationKey, who.authorization)
	}
	if who.address != "" {
		md.Set(rpc.ClientAddressKey, who.address)
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// isText holds for what gRPC takes as a text value; a credential of ours is never
// anything else.
func isText(value string) bool {
	for i := range len(value) {
		if value[i] < 0x20 || value[i] > 0x7e {
			return false
		}
	}
	return value != ""
}
