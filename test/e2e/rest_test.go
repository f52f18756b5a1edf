package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dialback/dialback/api"
	"github.com/dialback/dialback/internal/ctlconfig"
	"github.com/dialback/dialback/test/e2e/harness"
	"github.com/dialback/dialback/test/e2e/restapi"
)

// recorder remembers which operations were called.
type recorder struct {
	mu    sync.Mutex
	calls []string
}

func (r *recorder) Do(q *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.calls = append(r.calls, q.Method+" "+q.URL.Path)
	r.mu.Unlock()
	return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
}

// missing are the operations of the OpenAPI document that were not called.
func (r *recorder) missing(t *testing.T) (list []string) {
	t.Helper()
	var document struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal(api.OpenAPI, &document); err != nil {
		t.Fatal(err)
	}
	parameter := regexp.MustCompile(`\\\{[a-z_]+\\\}`)
	for path, operations := range document.Paths {
		for method := range operations {
			want := regexp.MustCompile("^" + strings.ToUpper(method) + " " + parameter.ReplaceAllString(regexp.QuoteMeta(path), `[^/:]+`) + "$")
			called := false
			for _, call := range r.calls {
				called = called || want.MatchString(call)
			}
			if !called {
				list = append(list, method+" "+path)
			}
		}
	}
	return list
}

// operator is REST as one user calls it, by the client that was generated from the
// OpenAPI document.
func operator(t *testing.T, server *harness.Server, key string, calls *recorder) *restapi.ClientWithResponses {
	t.Helper()
	client, err := restapi.NewClientWithResponses("http://"+server.API, restapi.WithHTTPClient(calls),
		restapi.WithRequestEditorFn(func(_ context.Context, q *http.Request) error {
			q.Header.Set("Authorization", "Bearer "+key)
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func ptr[T any](v T) *T { return &v }

// answered is what every answer of the generated client has.
type answered interface{ StatusCode() int }

// want fails the test unless a call has had this status.
func want[A answered](t *testing.T, status int) func(A, error) A {
	t.Helper()
	return func(a A, err error) A {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if a.StatusCode() != status {
			body, _ := json.Marshal(a)
			t.Fatalf("status %d, want %d: %s", a.StatusCode(), status, body)
		}
		return a
	}
}

func TestAllOfRESTByAClientGeneratedFromItsDocument(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, nil)
	contexts, err := ctlconfig.Load(filepath.Join(strings.TrimPrefix(server.Env()[0], "HOME="), ".config", "dialback", "ctl.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	calls := &recorder{}
	admin := operator(t, server, contexts.Contexts["local"].Key.Reveal(), calls)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	// Accounts: a repeat is no error and no second one; an etag that is old is a conflict.
	acme := restapi.Account{Id: ptr("acme"), DisplayName: ptr("Acme")}
	made := want[*restapi.AccountServiceCreateAccountResponse](t, 200)(admin.AccountServiceCreateAccountWithResponse(ctx, acme))
	want[*restapi.AccountServiceCreateAccountResponse](t, 200)(admin.AccountServiceCreateAccountWithResponse(ctx, acme))
	other := want[*restapi.AccountServiceCreateAccountResponse](t, 409)(admin.AccountServiceCreateAccountWithResponse(ctx, restapi.Account{Id: ptr("acme"), DisplayName: ptr("Other")}))
	if other.JSONDefault.Reason != "ALREADY_EXISTS" {
		t.Errorf("another one of this id: %+v", other.JSONDefault)
	}
	match := func(etag string) restapi.RequestEditorFn {
		return func(_ context.Context, q *http.Request) error {
			q.Header.Set("If-Match", `"`+etag+`"`)
			return nil
		}
	}
	change := restapi.AccountServiceUpdateAccountJSONRequestBody{DisplayName: ptr("Acme Inc.")}
	updated := want[*restapi.AccountServiceUpdateAccountResponse](t, 200)(admin.AccountServiceUpdateAccountWithResponse(ctx, "acme", change, match(*made.JSON200.Etag)))
	if *updated.JSON200.DisplayName != "Acme Inc." || updated.HTTPResponse.Header.Get("ETag") != `"`+*updated.JSON200.Etag+`"` {
		t.Errorf("updated: %s", updated.Body)
	}
	stale := want[*restapi.AccountServiceUpdateAccountResponse](t, 409)(admin.AccountServiceUpdateAccountWithResponse(ctx, "acme", change, match(*made.JSON200.Etag)))
	if stale.JSONDefault.Reason != "ETAG_MISMATCH" {
		t.Errorf("an old etag: %+v", stale.JSONDefault)
	}
	want[*restapi.AccountServiceGetAccountResponse](t, 200)(admin.AccountServiceGetAccountWithResponse(ctx, "acme"))
	page := want[*restapi.AccountServiceListAccountsResponse](t, 200)(admin.AccountServiceListAccountsWithResponse(ctx, &restapi.AccountServiceListAccountsParams{PageSize: ptr(int32(1))}))
	if len(*page.JSON200.Accounts) != 1 || *page.JSON200.NextPageToken == "" {
		t.Errorf("a page of one: %s", page.Body)
	}

	// People log in at an OpenID provider; this server has none.
	want[*restapi.LoginServiceGetLoginConfigResponse](t, 409)(admin.LoginServiceGetLoginConfigWithResponse(ctx))
	want[*restapi.LoginServiceExchangeIdTokenResponse](t, 409)(admin.LoginServiceExchangeIdTokenWithResponse(ctx, restapi.ExchangeIdTokenRequest{IdToken: ptr("x")}))

	// Tokens: an operator's key, which sees its account and nothing else.
	key := restapi.CreateTokenRequest{
		Id: ptr("acme-operator"), AccountId: ptr("acme"), Kind: ptr(restapi.TOKENKINDAPI), Role: ptr(restapi.ROLEOPERATOR),
	}
	created := want[*restapi.TokenServiceCreateTokenResponse](t, 200)(admin.TokenServiceCreateTokenWithResponse(ctx, key))
	again := want[*restapi.TokenServiceCreateTokenResponse](t, 200)(admin.TokenServiceCreateTokenWithResponse(ctx, key))
	if *created.JSON200.ApiKey == "" || *again.JSON200.ApiKey != "" {
		t.Error("a secret is shown once")
	}
	owner := operator(t, server, *created.JSON200.ApiKey, calls)
	want[*restapi.TokenServiceGetTokenResponse](t, 200)(owner.TokenServiceGetTokenWithResponse(ctx, "acme-operator"))
	tokens := want[*restapi.TokenServiceListTokensResponse](t, 200)(owner.TokenServiceListTokensWithResponse(ctx, nil))
	if len(*tokens.JSON200.Tokens) != 1 {
		t.Errorf("an operator sees %s", tokens.Body)
	}
	want[*restapi.AccountServiceGetAccountResponse](t, 404)(owner.AccountServiceGetAccountWithResponse(ctx, "default"))
	want[*restapi.TokenServiceListTokensResponse](t, 403)(owner.TokenServiceListTokensWithResponse(ctx, &restapi.TokenServiceListTokensParams{AccountId: ptr("default")}))
	want[*restapi.AccountServiceCreateAccountResponse](t, 403)(owner.AccountServiceCreateAccountWithResponse(ctx, restapi.Account{Id: ptr("mine")}))
	second := want[*restapi.TokenServiceCreateTokenResponse](t, 200)(owner.TokenServiceCreateTokenWithResponse(ctx, restapi.CreateTokenRequest{Id: ptr("second")}))
	want[*restapi.TokenServiceUpdateTokenResponse](t, 200)(owner.TokenServiceUpdateTokenWithResponse(ctx, "second",
		restapi.TokenServiceUpdateTokenJSONRequestBody{Description: ptr("the second one")}))
	rotated := want[*restapi.TokenServiceRotateTokenResponse](t, 200)(owner.TokenServiceRotateTokenWithResponse(ctx, "second", restapi.RotateTokenBody{}))
	if *rotated.JSON200.Authtoken == "" || *rotated.JSON200.Authtoken == *second.JSON200.Authtoken {
		t.Error("a rotated token has its old secret")
	}
	want[*restapi.TokenServiceRevokeTokenResponse](t, 200)(owner.TokenServiceRevokeTokenWithResponse(ctx, "second", restapi.RevokeTokenBody{}))
	want[*restapi.TokenServiceDeleteTokenResponse](t, 200)(owner.TokenServiceDeleteTokenWithResponse(ctx, "second", nil))

	// Reservations.
	shop := restapi.Reservation{Id: ptr("shop.localhost"), Description: ptr("the shop")}
	want[*restapi.ReservationServiceCreateReservationResponse](t, 200)(owner.ReservationServiceCreateReservationWithResponse(ctx, shop))
	want[*restapi.ReservationServiceCreateReservationResponse](t, 200)(owner.ReservationServiceCreateReservationWithResponse(ctx, shop))
	for _, name := range []string{"a..localhost", "a\x00b.localhost", strings.Repeat("a", 64) + ".localhost", "..", "a_b.localhost", "\u0430\u0301\u202e.localhost"} {
		bad := want[*restapi.ReservationServiceCreateReservationResponse](t, 400)(owner.ReservationServiceCreateReservationWithResponse(ctx, restapi.Reservation{Id: ptr(name)}))
		if bad.JSONDefault.Message == "" {
			t.Errorf("%q: %s", name, bad.Body)
		}
	}
	want[*restapi.ReservationServiceGetReservationResponse](t, 200)(owner.ReservationServiceGetReservationWithResponse(ctx, "shop.localhost"))
	want[*restapi.ReservationServiceListReservationsResponse](t, 200)(owner.ReservationServiceListReservationsWithResponse(ctx, nil))
	want[*restapi.ReservationServiceUpdateReservationResponse](t, 200)(owner.ReservationServiceUpdateReservationWithResponse(ctx, "shop.localhost",
		restapi.ReservationServiceUpdateReservationJSONRequestBody{Description: ptr("closed")}))
	want[*restapi.ReservationServiceDeleteReservationResponse](t, 200)(owner.ReservationServiceDeleteReservationWithResponse(ctx, "shop.localhost", nil))

	// Tunnels, sessions, nodes, and why.
	agent := server.Agent("--hostname", "web.localhost", "127.0.0.1:9")
	agent.URL()
	var id string
	for id == "" {
		list := want[*restapi.TunnelServiceListTunnelsResponse](t, 200)(admin.TunnelServiceListTunnelsWithResponse(ctx, nil))
		for _, tunnel := range *list.JSON200.Tunnels {
			id = *tunnel.Id
		}
	}
	want[*restapi.TunnelServiceGetTunnelResponse](t, 200)(admin.TunnelServiceGetTunnelWithResponse(ctx, id))
	want[*restapi.TunnelServiceGetTunnelResponse](t, 404)(owner.TunnelServiceGetTunnelWithResponse(ctx, id))
	why := want[*restapi.ExplainServiceExplainResponse](t, 200)(admin.ExplainServiceExplainWithResponse(ctx, &restapi.ExplainServiceExplainParams{Url: ptr("http://" + id)}))
	if !*why.JSON200.Verdict.Served {
		t.Errorf("explained: %s", why.Body)
	}
	sessions := want[*restapi.SessionServiceListSessionsResponse](t, 200)(admin.SessionServiceListSessionsWithResponse(ctx, nil))
	session := *(*sessions.JSON200.Sessions)[0].Id
	want[*restapi.SessionServiceGetSessionResponse](t, 200)(admin.SessionServiceGetSessionWithResponse(ctx, session))
	want[*restapi.SessionServiceCloseSessionResponse](t, 404)(owner.SessionServiceCloseSessionWithResponse(ctx, session))
	want[*restapi.SessionServiceCloseSessionResponse](t, 200)(admin.SessionServiceCloseSessionWithResponse(ctx, session))
	want[*restapi.TunnelServiceCloseTunnelResponse](t, 200)(admin.TunnelServiceCloseTunnelWithResponse(ctx, id))
	nodes := want[*restapi.NodeAdminServiceListNodesResponse](t, 200)(owner.NodeAdminServiceListNodesWithResponse(ctx, nil))
	node := *(*nodes.JSON200.Nodes)[0].Id
	want[*restapi.NodeAdminServiceGetNodeResponse](t, 200)(owner.NodeAdminServiceGetNodeWithResponse(ctx, node))
	want[*restapi.NodeAdminServiceDrainNodeResponse](t, 403)(owner.NodeAdminServiceDrainNodeWithResponse(ctx, node, restapi.DrainNodeBody{}))
	want[*restapi.RestoreServiceFinishRestoreResponse](t, 403)(owner.RestoreServiceFinishRestoreWithResponse(ctx, restapi.FinishRestoreRequest{}))

	events(ctx, t, owner)
	want[*restapi.AccountServiceDeleteAccountResponse](t, 200)(admin.AccountServiceDeleteAccountWithResponse(ctx, "acme", &restapi.AccountServiceDeleteAccountParams{Force: ptr(true)}))
	if list := calls.missing(t); len(list) > 0 {
		t.Errorf("never called: %v", list)
	}
}

// events reads all that is kept until it has seen what an operator did, and nobody
// else's.
func events(ctx context.Context, t *testing.T, owner *restapi.ClientWithResponses) {
	t.Helper()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	res, err := owner.EventServiceWatchEvents(ctx, &restapi.EventServiceWatchEventsParams{After: ptr("0")})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	seen := map[string]bool{}
	for lines := bufio.NewScanner(res.Body); !seen["account created"] || !seen["token rotated"] && !seen["token updated"] || !seen["reservation deleted"]; {
		if !lines.Scan() {
			t.Fatalf("the stream has ended: %v; seen %v", lines.Err(), seen)
		}
		var line struct {
			Result restapi.WatchEventsResponse
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		for _, e := range *line.Result.Events {
			if *e.AccountId != "acme" {
				t.Errorf("another account's: %+v", e)
			}
			seen[*e.Kind+" "+strings.ToLower(strings.TrimPrefix(string(*e.Action), "ACTION_"))] = true
		}
	}
}
