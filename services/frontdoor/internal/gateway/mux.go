package gateway

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
)

// services are what REST offers: each is called over a connection, so that its
// interceptors see every request.
func services(d Deps) []func(context.Context, *runtime.ServeMux) error {
	own, auth, registry := carrier{d.Frontdoor}, carrier{d.Auth}, carrier{d.Registry}
	return []func(context.Context, *runtime.ServeMux) error{
		of(frontdoorv1.RegisterSessionServiceHandlerClient, frontdoorv1.NewSessionServiceClient(own)),
		of(authv1.RegisterAccountServiceHandlerClient, authv1.NewAccountServiceClient(auth)),
		of(authv1.RegisterLoginServiceHandlerClient, authv1.NewLoginServiceClient(auth)),
		of(authv1.RegisterTokenServiceHandlerClient, authv1.NewTokenServiceClient(auth)),
		of(registryv1.RegisterReservationServiceHandlerClient, registryv1.NewReservationServiceClient(registry)),
		of(registryv1.RegisterTunnelServiceHandlerClient, registryv1.NewTunnelServiceClient(registry)),
		of(registryv1.RegisterNodeAdminServiceHandlerClient, registryv1.NewNodeAdminServiceClient(registry)),
		of(registryv1.RegisterRestoreServiceHandlerClient, registryv1.NewRestoreServiceClient(registry)),
		of(frontdoorv1.RegisterExplainServiceHandlerClient, frontdoorv1.NewExplainServiceClient(own)),
	}
}

func of[C any](register func(context.Context, *runtime.ServeMux, C) error, client C) func(context.Context, *runtime.ServeMux) error {
	return func(ctx context.Context, mux *runtime.ServeMux) error { return register(ctx, mux, client) }
}

// beStrict is a setting of the whole process: the library has no other.
var beStrict = sync.OnceFunc(func() { runtime.SetQueryParameterParser(strictQuery{})(nil) })

func newMux(d Deps) (*runtime.ServeMux, error) {
	beStrict()
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, codec{}),
		runtime.WithErrorHandler(func(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
			writeError(ctx, w, err)
		}),
		runtime.WithRoutingErrorHandler(func(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, status int) {
			err := routingError(r, status)
			if methods := allowed(r.URL.Path); methods != "" && status == http.StatusMethodNotAllowed {
				w.Header().Set("Allow", methods)
			}
			writeError(ctx, w, err)
		}),
		// Neither direction passes headers on: what services need is in carrier, what
		// clients need is in the answer.
		runtime.WithIncomingHeaderMatcher(nothing), runtime.WithOutgoingHeaderMatcher(nothing), runtime.WithOutgoingTrailerMatcher(nothing),
		runtime.WithDisableHTTPMethodOverride(), runtime.WithDisablePathLengthFallback(),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllCharacters),
		runtime.WithMiddlewares(func(next runtime.HandlerFunc) runtime.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
				if p, ok := runtime.HTTPPattern(r.Context()); ok {
					pattern(r.Context(), p.String())
				}
				next(w, r, params)
			}
		}),
		runtime.WithForwardResponseOption(tagged),
	)
	for _, register := range services(d) {
		if err := register(context.Background(), mux); err != nil {
			return nil, err
		}
	}
	return mux, nil
}

func nothing(string) (string, bool) { return "", false }

// strictQuery refuses parameters that no field is named for: a typing error in a
// filter must not list everything.
type strictQuery struct{ runtime.DefaultQueryParser }

// Parse implements runtime.QueryParameterParser.
func (q strictQuery) Parse(m proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	for name := range values {
		if !hasField(m.ProtoReflect().Descriptor(), strings.Split(name, ".")) {
			return unknownField(name)
		}
	}
	return q.DefaultQueryParser.Parse(m, values, filter)
}

func hasField(m protoreflect.MessageDescriptor, path []string) bool {
	if m == nil {
		return false
	}
	f := m.Fields().ByName(protoreflect.Name(path[0]))
	if f == nil {
		f = m.Fields().ByJSONName(path[0])
	}
	return f != nil && (len(path) == 1 || hasField(f.Message(), path[1:]))
}

// tagged puts the etag of a resource into its header, too.
func tagged(_ context.Context, w http.ResponseWriter, m proto.Message) error {
	if m == nil {
		return nil
	}
	if body, ok := m.(interface{ XXX_ResponseBody() any }); ok {
		inner, ok := body.XXX_ResponseBody().(proto.Message)
		if !ok {
			return nil
		}
		m = inner
	}
	if resource, ok := m.(interface{ GetEtag() string }); ok && resource.GetEtag() != "" {
		w.Header().Set("ETag", `"`+resource.GetEtag()+`"`)
	}
	return nil
}
