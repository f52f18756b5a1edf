package auth_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
)

// user is the context of calls with an API key, through a frontdoor.
func user(t *testing.T, key string) context.Context {
	return rpc.WithClientAddress(rpc.WithKey(bounded(t), secret.String(key)), "203.0.113.5:4000")
}

func (r *replica) key(account string, role authv1.Role) string {
	return r.create(&authv1.CreateTokenRequest{AccountId: account, Kind: authv1.TokenKind_TOKEN_KIND_API, Role: role}).GetApiKey()
}

// The gateway calls with a frontdoor's identity, and for whoever has a key.
func TestAUserHasTheRightsOfItsKeyInItsAccount(t *testing.T) {
	t.Parallel()
	r := deploy(t).startDefault()
	front := r.as(tlsconf.RoleFrontdoor)
	reader, operator := r.key("team-a", authv1.Role_ROLE_UNSPECIFIED), r.key("team-a", authv1.Role_ROLE_OPERATOR)
	admin := r.key("ops", authv1.Role_ROLE_ADMIN)
	theirs := r.create(&authv1.CreateTokenRequest{AccountId: "team-b"}).GetToken()

	if _, err := front.ListTokens(bounded(t), &authv1.ListTokensRequest{}); err == nil {
		t.Error("a frontdoor without a key lists tokens")
	}
	if _, err := front.CreateToken(user(t, reader), &authv1.CreateTokenRequest{}); err == nil {
		t.Error("a reader makes a token")
	}
	made, err := front.CreateToken(user(t, operator), &authv1.CreateTokenRequest{Id: "mine"})
	if err != nil || made.GetToken().GetAccountId() != "team-a" || !strings.HasPrefix(made.GetAuthtoken(), "dbt_mine_") {
		t.Errorf("an operator makes %v, %v", made.GetToken(), err)
	}
	if _, err := front.CreateToken(user(t, operator), &authv1.CreateTokenRequest{Kind: authv1.TokenKind_TOKEN_KIND_API, Role: authv1.Role_ROLE_ADMIN}); err == nil {
		t.Error("an operator makes an administrator's key")
	}
	for name, key := range map[string]string{"reader": reader, "operator": operator} {
		_, err = front.GetToken(user(t, key), &authv1.GetTokenRequest{Id: theirs.GetId()})
		wantReason(t, err, errs.NotFound, errs.ReasonNotFound)
		list, err := front.ListTokens(user(t, key), &authv1.ListTokensRequest{})
		if err != nil || len(list.GetTokens()) != 3 {
			t.Errorf("a %s lists %d tokens, %v; want 3", name, len(list.GetTokens()), err)
		}
		_, err = front.CreateAccount(user(t, key), &authv1.CreateAccountRequest{Account: &authv1.Account{Id: "x"}})
		wantReason(t, err, errs.PermissionDenied, errs.ReasonPermissionDenied)
	}
	if got, err := front.GetToken(user(t, admin), &authv1.GetTokenRequest{Id: theirs.GetId()}); err != nil || !proto.Equal(got.GetToken(), theirs) {
		t.Errorf("an administrator gets %v, %v", got, err)
	}
	_, err = front.ListTokens(user(t, made.GetAuthtoken()), &authv1.ListTokensRequest{})
	wantReason(t, err, errs.Unauthenticated, errs.ReasonTokenMissing)
}

func TestFiltersOfAccountsAndTokens(t *testing.T) {
	t.Parallel()
	r := deploy(t).startDefault()
	admin := r.as(tlsconf.RoleAdmin)
	if _, err := admin.CreateAccount(bounded(t), &authv1.CreateAccountRequest{Account: &authv1.Account{Id: "team-a", Disabled: true}}); err != nil {
		t.Fatal(err)
	}
	r.create(&authv1.CreateTokenRequest{Id: "key", Kind: authv1.TokenKind_TOKEN_KIND_API, Role: authv1.Role_ROLE_READ_ONLY})
	r.create(&authv1.CreateTokenRequest{Id: "agents"})
	for filter, want := range map[string]string{
		"": "agents key", "kind=api": "key", "kind=agent": "agents", "kind=user": "", "role=read-only AND kind=api": "key",
		"account_id=default AND role=agent": "agents", "account_id=team-a": "", "subject=alice": "",
	} {
		list, err := admin.ListTokens(bounded(t), &authv1.ListTokensRequest{Filter: filter})
		var ids []string
		for _, token := range list.GetTokens() {
			ids = append(ids, token.GetId())
		}
		if err != nil || strings.Join(ids, " ") != want {
			t.Errorf("tokens %q: %v, %v", filter, ids, err)
		}
	}
	for filter, want := range map[string]string{"disabled=true": "team-a", "disabled=false": "default", "id=team-a": "team-a", "id=none": ""} {
		list, err := admin.ListAccounts(bounded(t), &authv1.ListAccountsRequest{Filter: filter})
		var ids []string
		for _, a := range list.GetAccounts() {
			ids = append(ids, a.GetId())
		}
		if err != nil || strings.Join(ids, " ") != want {
			t.Errorf("accounts %q: %v, %v", filter, ids, err)
		}
	}
	bad := map[string]error{}
	for _, filter := range []string{"x=y", "kind=cat", "role=root", "kind", "kind=api AND kind=api", "kind=api OR role=admin"} {
		_, bad["tokens "+filter] = admin.ListTokens(bounded(t), &authv1.ListTokensRequest{Filter: filter})
	}
	for _, filter := range []string{"x=y", "disabled=1", "disabled=maybe"} {
		_, bad["accounts "+filter] = admin.ListAccounts(bounded(t), &authv1.ListAccountsRequest{Filter: filter})
	}
	_, bad["two accounts"] = admin.ListTokens(bounded(t), &authv1.ListTokensRequest{AccountId: "default", Filter: "account_id=team-a"})
	for what, err := range bad {
		if e, _ := errs.From(err); e == nil || e.Kind() != errs.InvalidArgument || len(e.Fields()) != 1 || e.Fields()[0].Name != "filter" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func (d *deployment) startDefault() *replica { return d.start(d.config()) }

func TestAnAccountIsSuspendedAndDeleted(t *testing.T) {
	t.Parallel()
	r := deploy(t).startDefault()
	admin, connector := r.as(tlsconf.RoleAdmin), r.as(tlsconf.RoleConnector)
	if _, err := admin.GetAccount(bounded(t), &authv1.GetAccountRequest{Id: "default"}); err != nil {
		t.Errorf("the default account is not there from the start: %v", err)
	}
	wanted := &authv1.Account{Id: "team-a", DisplayName: "Team A", Quotas: &authv1.Quotas{MaxAgents: 1, MaxEndpoints: 2, MaxConnections: 3}}
	made, err := admin.CreateAccount(bounded(t), &authv1.CreateAccountRequest{Account: wanted})
	if err != nil {
		t.Fatal(err)
	}
	created := r.create(&authv1.CreateTokenRequest{AccountId: "team-a"})
	valid, err := connector.Validate(bounded(t), validation(created.GetAuthtoken()))
	if err != nil || valid.GetMaxAgents() != 1 || valid.GetMaxEndpoints() != 2 || valid.GetMaxConnections() != 3 {
		t.Errorf("the quotas are %v, %v", valid, err)
	}
	var a authv1.Assertion
	if err := proto.Unmarshal(valid.GetAssertion().GetAssertion(), &a); err != nil || a.GetMaxEndpoints() != 2 || a.GetMaxAgents() != 1 || a.GetMaxConnections() != 3 {
		t.Errorf("signed is %v, %v", &a, err)
	}
	_, err = connector.Validate(bounded(t), validation(created.GetAuthtoken()))
	wantReason(t, err, errs.ResourceExhausted, errs.ReasonQuotaExceeded)

	stream, _ := r.watch(t, 0)
	update := func(mask ...string) (*authv1.UpdateAccountResponse, error) {
		return admin.UpdateAccount(bounded(t), &authv1.UpdateAccountRequest{
			Account:    &authv1.Account{Id: "team-a", Disabled: true, Etag: made.GetAccount().GetEtag()},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: mask},
		})
	}
	_, err = update("create_time")
	wantReason(t, err, errs.InvalidArgument, errs.ReasonInvalidArgument)
	_, err = update()
	wantReason(t, err, errs.InvalidArgument, errs.ReasonInvalidArgument)
	changed, err := update("disabled", "quotas.max_agents", "id", "etag")
	if got := changed.GetAccount(); err != nil || !got.GetDisabled() || got.GetDisplayName() != "Team A" || got.GetQuotas().GetMaxAgents() != 0 || got.GetQuotas().GetMaxEndpoints() != 2 {
		t.Errorf("changed to %v, %v", got, err)
	}
	_, err = update("disabled")
	wantReason(t, err, errs.Aborted, errs.ReasonEtagMismatch)
	for {
		msg, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(msg.GetEndedAccountIds(), "team-a") {
			break
		}
	}
	_, err = connector.Validate(bounded(t), validation(created.GetAuthtoken()))
	wantReason(t, err, errs.Unauthenticated, errs.ReasonAccountDisabled)

	_, err = admin.DeleteAccount(bounded(t), &authv1.DeleteAccountRequest{Id: "team-a"})
	wantReason(t, err, errs.FailedPrecondition, errs.ReasonInvalidArgument)
	if _, err := admin.DeleteAccount(bounded(t), &authv1.DeleteAccountRequest{Id: "team-a", Force: true}); err != nil {
		t.Fatal(err)
	}
	if ids, _ := ended(t, stream); !slices.Equal(ids, []string{created.GetToken().GetId()}) {
		t.Errorf("the ends of %v were announced", ids)
	}
	list, err := admin.ListAccounts(bounded(t), &authv1.ListAccountsRequest{})
	if err != nil || len(list.GetAccounts()) != 1 {
		t.Errorf("there are %v, %v", list, err)
	}
}

func TestNoSecretIsInTheHistoryOrTheStore(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.startDefault()
	secrets := map[string]string{}
	keep := func(name, text string) {
		_, key, _ := strings.Cut(text[4:], "_")
		secrets[name] = key[:len(key)/2]
	}
	front, operator := r.as(tlsconf.RoleFrontdoor), r.key("team-a", authv1.Role_ROLE_OPERATOR)
	keep("API key", operator)
	made, err := front.CreateToken(user(t, operator), &authv1.CreateTokenRequest{Id: "laptop", Grants: []string{"bind:a.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	keep("authtoken", made.GetAuthtoken())
	valid, err := r.as(tlsconf.RoleConnector).Validate(bounded(t), validation(made.GetAuthtoken()))
	if err != nil {
		t.Fatal(err)
	}
	secrets["resume token"] = valid.GetResumeToken()[4:40]
	rotated, err := front.RotateToken(user(t, operator), &authv1.RotateTokenRequest{Id: "laptop", Overlap: durationpb.New(time.Hour)})
	if err != nil || rotated.GetServer() == "" || rotated.GetToken().GetOverlapEndTime() == nil {
		t.Fatalf("rotated %v, %v", rotated.GetToken(), err)
	}
	keep("rotated authtoken", rotated.GetAuthtoken())
	_, err = front.UpdateToken(user(t, operator), &authv1.UpdateTokenRequest{
		Token: &authv1.Token{Id: "laptop"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"grants"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := front.DeleteToken(user(t, operator), &authv1.DeleteTokenRequest{Id: "laptop"}); err != nil {
		t.Fatal(err)
	}

	stream, err := front.WatchEvents(user(t, operator), &authv1.WatchEventsRequest{AfterRevision: -1, Kind: "token"})
	if err != nil {
		t.Fatal(err)
	}
	var history []*auditv1.Event
	for len(history) < 5 {
		msg, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		history = append(history, msg.GetEvents()...)
	}
	last := history[4]
	if last.GetAction() != auditv1.Action_ACTION_DELETED || last.GetName() != "laptop" || last.GetAccountId() != "team-a" ||
		last.GetAddress() != "203.0.113.5:4000" || !strings.HasPrefix(last.GetActor(), "token:") {
		t.Errorf("the last event is %v", last)
	}
	all, err := d.etcd.Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil || len(all.Kvs) < 5 {
		t.Fatalf("%d keys, %v", len(all.Kvs), err)
	}
	for name, text := range secrets {
		for _, e := range history {
			if raw, _ := proto.Marshal(e); strings.Contains(string(raw), text) {
				t.Errorf("the %s is in the history: %v", name, e)
			}
		}
		for _, kv := range all.Kvs {
			if strings.Contains(string(kv.Value), text) {
				t.Errorf("the %s is in the store at %s", name, kv.Key)
			}
		}
		if strings.Contains(d.logs.String(), text) {
			t.Errorf("the %s is in the log", name)
		}
	}
}

func TestALastUseIsShown(t *testing.T) {
	t.Parallel()
	r := deploy(t).startDefault()
	created := r.create(&authv1.CreateTokenRequest{})
	if _, err := r.as(tlsconf.RoleConnector).Validate(bounded(t), validation(created.GetAuthtoken())); err != nil {
		t.Fatal(err)
	}
	admin := r.as(tlsconf.RoleAdmin)
	testkit.Eventually(t, limit, func() bool {
		got, err := admin.GetToken(bounded(t), &authv1.GetTokenRequest{Id: created.GetToken().GetId()})
		return err == nil && got.GetToken().GetLastUseTime() != nil
	}, "the last use is written")
}
