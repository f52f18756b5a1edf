package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	connectorv1 "github.com/dialback/dialback/api/gen/dialback/connector/v1"
	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/rpc/validate"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/services/frontdoor/internal/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is the services behind the gateway: it remembers what it is told and
// answers what it is told to.
type backend struct {
	frontdoorv1.UnimplementedSessionServiceServer
	frontdoorv1.UnimplementedExplainServiceServer
	frontdoorv1.UnimplementedEventServiceServer
	authv1.UnimplementedTokenServiceServer

	calls  chan metadata.MD
	answer func(ctx context.Context) error
	watch  func(*frontdoorv1.WatchEventsRequest, frontdoorv1.EventService_WatchEventsServer) error
}

func (b *backend) GetSession(ctx context.Context, req *frontdoorv1.GetSessionRequest) (*frontdoorv1.GetSessionResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	b.calls <- md
	if b.answer != nil {
		return nil, b.answer(ctx)
	}
	return &frontdoorv1.GetSessionResponse{Session: &connectorv1.Session{Id: req.GetId()}}, nil
}

func (b *backend) ListSessions(ctx context.Context, _ *frontdoorv1.ListSessionsRequest) (*frontdoorv1.ListSessionsResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	b.calls <- md
	return &frontdoorv1.ListSessionsResponse{}, nil
}

func (b *backend) WatchEvents(req *frontdoorv1.WatchEventsRequest, stream frontdoorv1.EventService_WatchEventsServer) error {
	return b.watch(req, stream)
}

var everything = rpc.Methods{Internal: map[string][]string{
	frontdoorv1.SessionService_ListSessions_FullMethodName: {rpc.RoleAnyone},
	frontdoorv1.SessionService_GetSession_FullMethodName:   {rpc.RoleAnyone},
	frontdoorv1.SessionService_CloseSession_FullMethodName: {rpc.RoleAnyone},
	frontdoorv1.ExplainService_Explain_FullMethodName:      {rpc.RoleAnyone},
	frontdoorv1.EventService_WatchEvents_FullMethodName:    {rpc.RoleAnyone},
	authv1.TokenService_CreateToken_FullMethodName:         {rpc.RoleAnyone},
	authv1.TokenService_GetToken_FullMethodName:            {rpc.RoleAnyone},
	authv1.TokenService_ListTokens_FullMethodName:          {rpc.RoleAnyone},
	authv1.TokenService_UpdateToken_FullMethodName:         {rpc.RoleAnyone},
	authv1.TokenService_RotateToken_FullMethodName:         {rpc.RoleAnyone},
	authv1.TokenService_RevokeToken_FullMethodName:         {rpc.RoleAnyone},
	authv1.TokenService_DeleteToken_FullMethodName:         {rpc.RoleAnyone},
}}

// maxHead is what a request's head may have.
const maxHead = 16 << 10

// rig is a gateway in front of a backend.
type rig struct {
	*backend
	t    *testing.T
	url  string
	stop chan struct{}
}

func start(t *testing.T, change func(*gateway.Config)) *rig {
	t.Helper()
	r := &rig{t: t, backend: &backend{calls: make(chan metadata.MD, 100)}, stop: make(chan struct{})}
	mem := rpc.NewMemory()
	server := rpc.NewServer(rpc.ServerConfig{Methods: everything, Validator: validate.New(), Logger: slog.New(slog.DiscardHandler)})
	frontdoorv1.RegisterSessionServiceServer(server, r.backend)
	frontdoorv1.RegisterExplainServiceServer(server, r.backend)
	frontdoorv1.RegisterEventServiceServer(server, r.backend)
	authv1.RegisterTokenServiceServer(server, r.backend)
	served := make(chan error, 1)
	go func() { served <- server.Serve(mem) }()
	conn, err := rpc.Dial(rpc.ClientConfig{Target: "frontdoor", Dialer: mem.Dial})
	if err != nil {
		t.Fatal(err)
	}
	traces, err := telemetry.New(t.Context(), telemetry.Config{Service: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := gateway.Config{Rate: 1000, MaxHead: maxHead}
	if change != nil {
		change(&cfg)
	}
	g, err := gateway.New(cfg, gateway.Deps{
		Auth: conn, Registry: conn, Frontdoor: conn, Stopping: r.stop,
		Telemetry: traces, Logger: slog.New(slog.DiscardHandler),
		Observe: func(string, string, int, time.Duration) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(g)
	r.url = front.URL
	t.Cleanup(func() {
		front.Client().CloseIdleConnections()
		front.Close()
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return r
}

// do sends a request and reads its answer.
func (r *rig) do(method, path, body string, header http.Header) (*http.Response, []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return res, data
}

const sessionPath = "/v1/sessions/0123456789abcdef0123456789abcdef"

// Hazard 36: what a client sends must not become metadata, a deadline or another
// method, for the call is made with the frontdoor's certificate.
func TestNothingOfAClientPassesButItsCredential(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	res, body := r.do(http.MethodGet, sessionPath, "", http.Header{
		"Authorization":                {"Bearer dbk_x_y"},
		"Cookie":                       {"session=stolen"},
		"Grpc-Metadata-Role":           {"admin"},
		"Grpc-Metadata-Authorization":  {"Bearer other"},
		"Grpc-Timeout":                 {"1n"},
		"Dialback-Client-Address":      {"203.0.113.9"},
		"X-Forwarded-For":              {"203.0.113.9"},
		"X-Forwarded-Host":             {"evil.example"},
		"X-Http-Method-Override":       {"DELETE"},
		"Te":                           {"trailers"},
		"Grpcgateway-Authorization":    {"Bearer other"},
		"Grpc-Metadata-X-Real-Ip-Bin":  {"!"},
		"Dialback-Service-Credentials": {"x"},
	})
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", res.Status, body)
	}
	md := <-r.calls
	for key, values := range md {
		switch key {
		case "authorization":
			if len(values) != 1 || values[0] != "Bearer dbk_x_y" {
				t.Errorf("authorization: %q", values)
			}
		case "dialback-client-address":
			if len(values) != 1 || values[0] != "127.0.0.1" {
				t.Errorf("address: %q", values)
			}
		case ":authority", "content-type", "user-agent", "grpc-accept-encoding":
		default:
			t.Errorf("the service was told %s: %q", key, values)
		}
	}
	if md.Get("authorization") == nil || md.Get("dialback-client-address") == nil {
		t.Errorf("missing: %v", md)
	}
}

func TestAnAddressIsBelievedFromTrustedProxiesAlone(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *gateway.Config) { c.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	r.do(http.MethodGet, sessionPath, "", http.Header{"X-Forwarded-For": {"192.0.2.1, 198.51.100.7", "127.0.0.9"}})
	if md := <-r.calls; md.Get("dialback-client-address")[0] != "198.51.100.7" {
		t.Errorf("address: %q", md.Get("dialback-client-address"))
	}
}

func TestBadRequestsGetClearErrors(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	jsonType := http.Header{"Content-Type": {"application/json"}}
	for name, c := range map[string]struct {
		method, path, body string
		header             http.Header
		status             int
		message            string
		field              string
	}{
		"a path that is not there":       {method: "GET", path: "/v1/nothing", status: 404, message: "openapi.json"},
		"outside":                        {method: "GET", path: "/", status: 404, message: "openapi.json"},
		"dots":                           {method: "GET", path: "/v1/sessions/../../etc/passwd", status: 404, message: "nothing at this path"},
		"another method":                 {method: "POST", path: "/v1/sessions", status: 405, message: "POST is not for this path"},
		"CORS is closed":                 {method: "OPTIONS", path: "/v1/sessions", status: 405, message: "OPTIONS"},
		"too large a body":               {method: "POST", path: "/v1/sessions", body: strings.Repeat("x", 1<<20+1), header: jsonType, status: 413, message: "1 MiB"},
		"too large a head":               {method: "GET", path: "/v1/sessions", header: http.Header{"X-Junk": {strings.Repeat("x", maxHead)}}, status: 431, message: "too large"},
		"too large a path":               {method: "GET", path: "/v1/sessions?filter=" + strings.Repeat("x", maxHead), status: 431, message: "too large"},
		"malformed JSON":                 {method: "POST", path: "/v1/tokens", body: `{"id":`, header: jsonType, status: 400, message: "malformed JSON at line 1, column 6"},
		"no JSON at all":                 {method: "POST", path: "/v1/tokens", body: "id=x", header: jsonType, status: 400, message: "invalid"},
		"two of JSON":                    {method: "POST", path: "/v1/tokens", body: `{} {}`, header: jsonType, status: 400, message: "malformed JSON at line 1, column 4"},
		"an unknown field":               {method: "POST", path: "/v1/tokens", body: `{"colour":"red"}`, header: jsonType, status: 400, message: `unknown field "colour"`, field: "colour"},
		"a value of another type":        {method: "POST", path: "/v1/tokens", body: `{"grants":7}`, header: jsonType, status: 400, message: "line 1:11"},
		"an enum's value that is none":   {method: "POST", path: "/v1/tokens", body: `{"kind":"CAT"}`, header: jsonType, status: 400, message: "kind", field: "kind"},
		"a body that is a form":          {method: "POST", path: "/v1/sessions", body: "a=b", header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, status: 415, message: "application/json"},
		"an unknown parameter":           {method: "GET", path: "/v1/sessions?fliter=x", status: 400, message: `unknown field "fliter"`, field: "fliter"},
		"a parameter that is no number":  {method: "GET", path: "/v1/sessions?page_size=many", status: 400, message: "page_size"},
		"a parameter out of its bounds":  {method: "GET", path: "/v1/sessions?page_size=1001", status: 400, message: "page_size", field: "page_size"},
		"an id that is none":             {method: "GET", path: "/v1/sessions/x", status: 400, message: "id", field: "id"},
		"NUL":                            {method: "GET", path: "/v1/sessions/%00", status: 400, message: "id", field: "id"},
		"a path that cannot be read":     {method: "GET", path: "/v1/sessions/%2e%2e", status: 400, message: "id", field: "id"},
		"a position that is none":        {method: "GET", path: "/v1/events?after=" + strings.Repeat("1", 61), status: 400, message: "after", field: "after"},
		"an unknown parameter of events": {method: "GET", path: "/v1/events?since=1", status: 400, message: `unknown field "since"`, field: "since"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, body := r.do(c.method, c.path, c.body, c.header)
			var p struct {
				Code, Reason, Message string
				Fields                []struct{ Field, Description string }
				TraceID               string `json:"trace_id"`
			}
			if err := json.Unmarshal(body, &p); err != nil || res.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("not our JSON: %s %s", res.Status, body)
			}
			if res.StatusCode != c.status || p.Code == "" || p.Reason == "" || len(p.TraceID) != 32 || !strings.Contains(p.Message, c.message) {
				t.Errorf("%s %s", res.Status, body)
			}
			if c.field != "" && (len(p.Fields) != 1 || p.Fields[0].Field != c.field || p.Fields[0].Description == "") {
				t.Errorf("fields: %s", body)
			}
		})
	}
}

func TestAWrongMethodIsToldTheRightOnes(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for path, want := range map[string]string{
		"/v1/sessions": "GET", "/v1/sessions/x": "DELETE, GET", "/v1/tokens": "GET, POST", "/v1/tokens/x": "DELETE, GET, PATCH",
		"/v1/tokens/x:rotate": "POST", "/v1/tunnels/tcp:20017": "DELETE, GET",
	} {
		res, body := r.do(http.MethodPut, path, "", nil)
		if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != want {
			t.Errorf("%s: %s, Allow %q, want %q: %s", path, res.Status, res.Header.Get("Allow"), want, body)
		}
	}
	if res, _ := r.do(http.MethodPut, "/v1/nothing", "", nil); res.StatusCode != http.StatusNotFound || res.Header.Get("Allow") != "" {
		t.Errorf("nothing: %s, Allow %q", res.Status, res.Header.Get("Allow"))
	}
}

func TestAServicesErrorKeepsItsMeaning(t *testing.T) {
	t.Parallel()
	for kind, want := range map[errs.Kind]int{
		errs.InvalidArgument: 400, errs.Unauthenticated: 401, errs.PermissionDenied: 403, errs.NotFound: 404, errs.AlreadyExists: 409,
		errs.FailedPrecondition: 409, errs.Aborted: 409, errs.ResourceExhausted: 429, errs.Internal: 500, errs.Unavailable: 503, errs.DeadlineExceeded: 504,
	} {
		r := start(t, nil)
		r.answer = func(context.Context) error {
			return errs.New(kind, errs.ReasonNameTaken, "what happened").WithMetadata("id", "x").WithRetry(1500 * time.Millisecond).
				WithCause(io.ErrUnexpectedEOF)
		}
		res, body := r.do(http.MethodGet, sessionPath, "", nil)
		if res.StatusCode != want || res.Header.Get("Retry-After") != "2" {
			t.Errorf("kind %d: %s, Retry-After %s", kind, res.Status, res.Header.Get("Retry-After"))
		}
		for _, part := range []string{`"reason":"NAME_TAKEN"`, `"message":"what happened"`, `"metadata":{"id":"x"}`, `"trace_id":"`} {
			if !bytes.Contains(body, []byte(part)) {
				t.Errorf("kind %d: %s lacks %s", kind, body, part)
			}
		}
		if bytes.Contains(body, []byte("EOF")) {
			t.Errorf("the cause has left: %s", body)
		}
		if (want == 401) != (res.Header.Get("WWW-Authenticate") != "") {
			t.Errorf("kind %d: WWW-Authenticate %q", kind, res.Header.Get("WWW-Authenticate"))
		}
	}
}

func TestBrowsersAreKeptOut(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	res, _ := r.do(http.MethodGet, "/v1/sessions", "", http.Header{"Origin": {"https://evil.example"}})
	for name := range res.Header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Set-Cookie" {
			t.Errorf("%s: %s", name, res.Header.Get(name))
		}
	}
	if res.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("headers: %v", res.Header)
	}
}

func TestTooManyRequestsOfOneAddressAreRefused(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *gateway.Config) {
		c.Rate, c.Trusted = 1, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	ask := func(from string) int {
		res, body := r.do(http.MethodGet, "/v1/openapi.json", "", http.Header{"X-Forwarded-For": {from}})
		if res.StatusCode == http.StatusTooManyRequests && (res.Header.Get("Retry-After") == "" || !bytes.Contains(body, []byte("RATE_LIMITED"))) {
			t.Errorf("%v %s", res.Header, body)
		}
		return res.StatusCode
	}
	refused := false
	for range 50 {
		refused = refused || ask("2001:db8::1") == http.StatusTooManyRequests
	}
	if !refused {
		t.Fatal("50 requests at once pass a limit of 1 a second")
	}
	if got := ask("2001:db8::2"); got != http.StatusTooManyRequests {
		t.Errorf("another address of the same network: %d", got)
	}
	if got := ask("2001:db8:0:1::1"); got != http.StatusOK {
		t.Errorf("another network: %d", got)
	}
}

func TestTheDocumentIsServed(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	_, body := r.do(http.MethodGet, "/v1/openapi.json", "", nil)
	var document struct {
		OpenAPI    string
		Paths      map[string]any
		Components struct{ SecuritySchemes map[string]any }
	}
	if err := json.Unmarshal(body, &document); err != nil {
		t.Fatal(err)
	}
	if document.OpenAPI != "3.0.3" || document.Paths["/v1/sessions/{id}"] == nil || document.Components.SecuritySchemes["bearer"] == nil {
		t.Errorf("document: %v", document)
	}
}
