package testkit

import (
	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/rpc"
)

// Internal lists all methods of some services for the same roles: for fakes, of
// which nothing depends on who may call what.
func Internal(roles []string, services ...grpc.ServiceDesc) rpc.Methods {
	m := rpc.Methods{Internal: map[string][]string{}}
	for _, service := range services {
		for _, method := range service.Methods {
			m.Internal["/"+service.ServiceName+"/"+method.MethodName] = roles
		}
		for _, stream := range service.Streams {
			m.Internal["/"+service.ServiceName+"/"+stream.StreamName] = roles
		}
	}
	return m
}
