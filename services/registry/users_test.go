package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	auditv1 "github.com/dialback/dialback/api/gen/dialback/audit/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/portrange"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
)

// user is a REST client, whose calls a frontdoor passes on.
type user struct {
	t            testing.TB
	key          secret.String
	reservations registryv1.ReservationServiceClient
	tunnels      registryv1.TunnelServiceClient
	nodes        registryv1.NodeAdminServiceClient
	restore      registryv1.RestoreServiceClient
	names        registryv1.NameServiceClient
}

func (i *instance) user(key string) *user {
	i.d.t.Helper()
	conn := i.conn(tlsconf.RoleFrontdoor, "gateway")
	return &user{
		t: i.d.t, key: secret.String(key), reservations: registryv1.NewReservationServiceClient(conn),
		tunnels: registryv1.NewTunnelServiceClient(conn), nodes: registryv1.NewNodeAdminServiceClient(conn),
		restore: registryv1.NewRestoreServiceClient(conn), names: registryv1.NewNameServiceClient(conn),
	}
}

func (u *user) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	u.t.Cleanup(cancel)
	if u.key != "" {
		ctx = rpc.WithKey(ctx, u.key)
	}
	return rpc.WithClientAddress(ctx, "192.0.2.7:4711")
}

func (u *user) reserve(name string) *registryv1.Reservation {
	u.t.Helper()
	resp, err := u.reservations.CreateReservation(u.ctx(), &registryv1.CreateReservationRequest{Reservation: &registryv1.Reservation{Id: name}})
	if err != nil {
		u.t.Fatalf("reserve %s: %v", name, err)
	}
	return resp.GetReservation()
}

// A service's identity grants nothing here, nor does too low a role.
func TestOnlyUsersWithTheRoleMayCall(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	calls := map[string]struct {
		least string
		call  func(*user) error
	}{
		"reserve": {"operator", func(u *user) error {
			_, err := u.reservations.CreateReservation(u.ctx(), &registryv1.CreateReservationRequest{Reservation: &registryv1.Reservation{Id: "x.example.com"}})
			return err
		}},
		"list reservations": {"read-only", func(u *user) error {
			_, err := u.reservations.ListReservations(u.ctx(), &registryv1.ListReservationsRequest{})
			return err
		}},
		"list tunnels": {"read-only", func(u *user) error {
			_, err := u.tunnels.ListTunnels(u.ctx(), &registryv1.ListTunnelsRequest{})
			return err
		}},
		"close": {"operator", func(u *user) error {
			_, err := u.tunnels.CloseTunnel(u.ctx(), &registryv1.CloseTunnelRequest{Id: "none.example.com"})
			return err
		}},
		"inspect a name": {"read-only", func(u *user) error {
			_, err := u.names.InspectName(u.ctx(), &registryv1.InspectNameRequest{Name: "none.example.com"})
			return err
		}},
		"list nodes": {"read-only", func(u *user) error {
			_, err := u.nodes.ListNodes(u.ctx(), &registryv1.ListNodesRequest{})
			return err
		}},
		"drain": {"admin", func(u *user) error {
			_, err := u.nodes.DrainNode(u.ctx(), &registryv1.DrainNodeRequest{Id: "none"})
			return err
		}},
		"finish a restore": {"admin", func(u *user) error {
			_, err := u.restore.FinishRestore(u.ctx(), &registryv1.FinishRestoreRequest{})
			return err
		}},
	}
	roles := []string{"agent", "read-only", "operator", "admin"}
	for name, c := range calls {
		if err := c.call(r.user("")); !errors.Is(err, sentinel(errs.Unauthenticated, errs.ReasonTokenMissing)) {
			t.Errorf("%s without a key: %v", name, err)
		}
		for i, role := range roles {
			err := c.call(r.user(role + "@acme"))
			if refused := errors.Is(err, errDenied); refused != (i < slices.Index(roles, c.least)) {
				t.Errorf("%s by the role %s: %v", name, role, err)
			}
		}
	}
}

func TestReservationsOverTheAPI(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	u, c := r.user("operator@acme"), r.connector("c1")
	first := u.reserve("App.Example.com")
	if first.GetId() != "app.example.com" || first.GetAccountId() != "acme" || first.GetEtag() == "" || first.GetCreateTime() == nil {
		t.Errorf("reserved: %v", first)
	}
	if _, err := c.tryBind(newAgent("rival"), "s1", newTunnel(), "app.example.com"); !errors.Is(err, errTaken) {
		t.Errorf("a rival: %v", err)
	}
	c.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")

	changed, err := u.reservations.UpdateReservation(u.ctx(), &registryv1.UpdateReservationRequest{
		Reservation: &registryv1.Reservation{Id: "app.example.com", Description: "the shop", Etag: first.GetEtag()},
		UpdateMask:  &fieldmaskpb.FieldMask{Paths: []string{"description"}},
	})
	if err != nil || changed.GetReservation().GetDescription() != "the shop" {
		t.Fatalf("update: %v, %v", changed, err)
	}
	_, err = u.reservations.DeleteReservation(u.ctx(), &registryv1.DeleteReservationRequest{Id: "app.example.com", Etag: first.GetEtag()})
	if !errors.Is(err, sentinel(errs.Aborted, errs.ReasonEtagMismatch)) {
		t.Errorf("deleted as it was: %v", err)
	}
	for _, path := range []string{"id", "create_time", "nonsense"} {
		_, err = u.reservations.UpdateReservation(u.ctx(), &registryv1.UpdateReservationRequest{
			Reservation: &registryv1.Reservation{Id: "app.example.com"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{path}},
		})
		if !errors.Is(err, sentinel(errs.InvalidArgument, errs.ReasonInvalidArgument)) {
			t.Errorf("the mask %s: %v", path, err)
		}
	}
	stranger := r.user("operator@other")
	if _, err = stranger.reservations.GetReservation(stranger.ctx(), &registryv1.GetReservationRequest{Id: "app.example.com"}); !errors.Is(err, sentinel(errs.NotFound, errs.ReasonNotFound)) {
		t.Errorf("a stranger reads it: %v", err)
	}
	if _, err = u.reservations.DeleteReservation(u.ctx(), &registryv1.DeleteReservationRequest{Id: "app.example.com"}); err != nil {
		t.Error(err)
	}
}

func TestListsComePageByPage(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	u, all, c := r.user("operator@acme"), r.user("admin"), r.connector("c1")
	defer c.keepBeating()()
	var want []string
	for i := range 5 {
		name := fmt.Sprintf("n%d.example.com", i)
		want = append(want, name)
		u.reserve(name)
		c.bind(newAgent("acme"), "s1", newTunnel(), name)
		c.bind(newAgent("other"), "s1", newTunnel(), fmt.Sprintf("o%d.example.com", i))
	}
	parked := c.bind(newAgent("acme"), "s1", newTunnel(), "")
	if err := c.release(parked); err != nil {
		t.Fatal(err)
	}
	reserved := pages(t, func(token string) ([]string, string) {
		resp, err := u.reservations.ListReservations(u.ctx(), &registryv1.ListReservationsRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		return idsOf(resp.GetReservations()), resp.GetNextPageToken()
	})
	if !slices.Equal(reserved, want) {
		t.Errorf("reservations: %v", reserved)
	}
	list := func(u *user, filter string) []string {
		return pages(t, func(token string) ([]string, string) {
			resp, err := u.tunnels.ListTunnels(u.ctx(), &registryv1.ListTunnelsRequest{PageSize: 2, PageToken: token, Filter: filter})
			if err != nil {
				t.Fatalf("%s: %v", filter, err)
			}
			return idsOf(resp.GetTunnels()), resp.GetNextPageToken()
		})
	}
	testkit.Eventually(t, limit, func() bool { return len(list(all, "state=parked")) == 1 }, "the copy does not come")
	for filter, n := range map[string]int{
		"": 11, "account_id=other": 5, "account_id=acme AND state=active": 5, "account_id=none": 0, "protocol=tcp": 0,
	} {
		if got := list(all, filter); len(got) != n {
			t.Errorf("%q: %v", filter, got)
		}
	}
	if got := list(u, "state=active"); !slices.Equal(got, want) {
		t.Errorf("tunnels: %v", got)
	}
	for _, filter := range []string{"x=y", "state=other", "account_id", "state=active AND state=parked", "account_id=a OR state=active"} {
		if _, err := u.tunnels.ListTunnels(u.ctx(), &registryv1.ListTunnelsRequest{Filter: filter}); !errors.Is(err, sentinel(errs.InvalidArgument, errs.ReasonInvalidArgument)) && !errors.Is(err, errDenied) {
			t.Errorf("%q: %v", filter, err)
		}
	}
	if _, err := u.tunnels.ListTunnels(u.ctx(), &registryv1.ListTunnelsRequest{Filter: "account_id=other"}); !errors.Is(err, errDenied) {
		t.Errorf("another account's: %v", err)
	}
}

func idsOf[T interface{ GetId() string }](list []T) (ids []string) {
	for _, one := range list {
		ids = append(ids, one.GetId())
	}
	return ids
}

func pages(t *testing.T, page func(token string) ([]string, string)) (all []string) {
	t.Helper()
	for token := ""; ; {
		ids, next := page(token)
		all = append(all, ids...)
		if next == "" {
			return all
		}
		if len(ids) != 2 {
			t.Fatalf("a page of %v", ids)
		}
		token = next
	}
}

// An operator ends a tunnel: the agent's connector hears that it was one, and a
// stranger's tunnel does not exist.
func TestAnOperatorClosesATunnel(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	u, stranger, c := r.user("operator@acme"), r.user("operator@other"), r.connector("c1")
	b := c.bind(newAgent("acme"), "s1", newTunnel(), "app.example.com")
	w := c.watch(nil)
	w.snapshot()
	got, err := u.tunnels.GetTunnel(u.ctx(), &registryv1.GetTunnelRequest{Id: "app.example.com"})
	if tunnel := got.GetTunnel(); err != nil || tunnel.GetAgentId() != b.agent.id || len(tunnel.GetAttachments()) != 1 || tunnel.GetAttachments()[0].GetConnectorId() != c.id {
		t.Errorf("get: %v, %v", got, err)
	}
	for _, u := range []*user{stranger, r.user("operator@nobody")} {
		if _, err := u.tunnels.GetTunnel(u.ctx(), &registryv1.GetTunnelRequest{Id: "app.example.com"}); !errors.Is(err, errNotFound) {
			t.Errorf("a stranger reads it: %v", err)
		}
		if _, err := u.tunnels.CloseTunnel(u.ctx(), &registryv1.CloseTunnelRequest{Id: "app.example.com"}); !errors.Is(err, errNotFound) {
			t.Errorf("a stranger closes it: %v", err)
		}
	}
	if _, err := u.tunnels.CloseTunnel(u.ctx(), &registryv1.CloseTunnelRequest{Id: "app.example.com"}); err != nil {
		t.Fatal(err)
	}
	ended := w.until(func(ch *registryv1.Change) bool { return ch.GetAttachmentEnded() != nil }).GetAttachmentEnded()
	if ended.GetReason() != agentv1.CloseReason_CLOSE_REASON_DELETED {
		t.Errorf("ended: %v", ended)
	}
	if _, err := u.tunnels.CloseTunnel(u.ctx(), &registryv1.CloseTunnelRequest{Id: "app.example.com"}); !errors.Is(err, errNotFound) {
		t.Errorf("closed twice: %v", err)
	}
	// A random one is kept for its agent; closed once more it is forgotten.
	random := c.bind(newAgent("acme"), "s1", newTunnel(), "").resp.GetHostname()
	for _, after := range []registryv1.ClaimState{registryv1.ClaimState_CLAIM_STATE_PARKED, 0} {
		if _, err := u.tunnels.CloseTunnel(u.ctx(), &registryv1.CloseTunnelRequest{Id: random}); err != nil {
			t.Fatal(err)
		}
		got, err := u.tunnels.GetTunnel(u.ctx(), &registryv1.GetTunnelRequest{Id: random})
		if got.GetTunnel().GetState() != after || (after == 0) != errors.Is(err, errNotFound) {
			t.Errorf("closed: %v, %v", got, err)
		}
	}
}

// Agents leave one connector at a time.
func TestOneConnectorDrainsAtATime(t *testing.T) {
	t.Parallel()
	r := deploy(t).start()
	u, c1, c2, f := r.user("admin"), r.connector("c1"), r.connector("c2"), r.node(tlsconf.RoleFrontdoor, "f1")
	f.register()
	drain := func(id string, force bool) error {
		_, err := u.nodes.DrainNode(u.ctx(), &registryv1.DrainNodeRequest{Id: id, Force: force})
		return err
	}
	wished := func(n *node) bool {
		resp, err := n.nodes.Heartbeat(n.ctx(), &registryv1.HeartbeatRequest{NodeId: n.id, Registration: n.registration, State: ready})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetDrain()
	}
	if wished(c1) {
		t.Error("nobody has asked yet")
	}
	for range 2 {
		if err := drain(c1.id, false); err != nil {
			t.Fatal(err)
		}
	}
	if !wished(c1) || wished(c2) || wished(f) {
		t.Error("not the node that was meant")
	}
	inProgress := sentinel(errs.FailedPrecondition, errs.ReasonDrainInProgress)
	if err := drain(c2.id, false); !errors.Is(err, inProgress) {
		t.Errorf("a second connector: %v", err)
	}
	if err := drain(f.id, false); err != nil {
		t.Errorf("a frontdoor meanwhile: %v", err)
	}
	if err := drain(c2.id, true); err != nil || !wished(c2) {
		t.Errorf("forced: %v", err)
	}
	if err := drain("c1-none", false); !errors.Is(err, errNoNode) {
		t.Errorf("a node that is not there: %v", err)
	}
	ids := pages(t, func(token string) ([]string, string) {
		resp, err := u.nodes.ListNodes(u.ctx(), &registryv1.ListNodesRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		return idsOf(resp.GetNodes()), resp.GetNextPageToken()
	})
	if len(ids) != 3 || ids[2] != f.id {
		t.Errorf("nodes: %v", ids)
	}
}

// Both of two connectors are asked at once, through two replicas: one is refused.
func TestTwoDrainsAtOnce(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	replicas := []*instance{d.start(), d.start()}
	for round := range 5 {
		connectors := []*node{replicas[0].connector(fmt.Sprintf("a%d", round)), replicas[1].connector(fmt.Sprintf("b%d", round))}
		results := make(chan error, 2)
		for i, c := range connectors {
			u := replicas[i].user("admin")
			go func() {
				_, err := u.nodes.DrainNode(u.ctx(), &registryv1.DrainNodeRequest{Id: c.id})
				results <- err
			}()
		}
		failed := 0
		for range 2 {
			if err := <-results; err != nil {
				failed++
			}
		}
		if failed != 1 {
			t.Errorf("%d of two were refused", failed)
		}
		for _, c := range connectors {
			if _, err := c.nodes.DeregisterNode(c.ctx(), &registryv1.DeregisterNodeRequest{NodeId: c.id, Registration: c.registration}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A frontdoor that cannot listen on a port says so, and the tunnel shows it.
func TestPortProblemsAreShown(t *testing.T) {
	t.Parallel()
	r := deploy(t).start(func(c *registry.Config) { c.Ports = portrange.Range{First: 20000, Last: 20009} })
	u, c, f := r.user("operator@acme"), r.connector("c1"), r.node(tlsconf.RoleFrontdoor, "f1")
	f.register()
	req := c.request(newAgent("acme"), "s1", newTunnel(), "")
	req.Protocol, req.Name = proxyv1.Protocol_PROTOCOL_TCP, &registryv1.BindRequest_RemotePort{RemotePort: 20003}
	bound, err := c.directory.Bind(c.ctx(), req)
	if err != nil || bound.GetPort() != 20003 || bound.GetHostname() != "tcp:20003" {
		t.Fatalf("bound: %v, %v", bound, err)
	}
	say := func(problems ...*registryv1.PortProblem) error {
		_, err := f.nodes.Heartbeat(f.ctx(), &registryv1.HeartbeatRequest{
			NodeId: f.id, Registration: f.registration, State: ready, PortProblems: problems,
		})
		return err
	}
	if err := say(&registryv1.PortProblem{Port: 20003, Problem: "address already in use"}); err != nil {
		t.Fatal(err)
	}
	shows := func(n int) func() bool {
		return func() bool {
			got, err := u.tunnels.GetTunnel(u.ctx(), &registryv1.GetTunnelRequest{Id: "tcp:20003"})
			if err != nil || len(got.GetTunnel().GetPortProblems()) != n {
				return false
			}
			list, err := u.tunnels.ListTunnels(u.ctx(), &registryv1.ListTunnelsRequest{})
			return err == nil && len(list.GetTunnels()) == 1 && len(list.GetTunnels()[0].GetPortProblems()) == n
		}
	}
	testkit.Eventually(t, limit, shows(1), "the problem is not shown")
	if err := say(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, limit, shows(0), "the problem does not end")
	if err := say(&registryv1.PortProblem{Problem: "no port"}); !errors.Is(err, sentinel(errs.InvalidArgument, errs.ReasonInvalidArgument)) {
		t.Errorf("a problem of no port: %v", err)
	}
}

// follower reads the history.
type follower struct {
	t      *testing.T
	stream grpc.ServerStreamingClient[registryv1.WatchTunnelsResponse]
	last   *registryv1.WatchTunnelsResponse
}

func (u *user) follow(t *testing.T, req *registryv1.WatchTunnelsRequest) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(u.ctx())
	t.Cleanup(cancel)
	stream, err := u.tunnels.WatchTunnels(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{t: t, stream: stream}
	if f.last, err = stream.Recv(); err != nil || len(f.last.GetEvents()) != 0 || f.last.GetRevision() == 0 {
		t.Fatalf("the first word: %v, %v", f.last, err)
	}
	return f
}

// next returns the next events, as "action kind name account actor address node reason".
func (f *follower) next(n int) (list []string) {
	f.t.Helper()
	for len(list) < n {
		resp, err := f.stream.Recv()
		if err != nil {
			f.t.Fatalf("behind %v: %v", list, err)
		}
		f.last = resp
		for _, e := range resp.GetEvents() {
			if e.GetRevision() != resp.GetRevision() || e.GetTime() == nil {
				f.t.Errorf("an event of another revision: %v", e)
			}
			list = append(list, fmt.Sprintf("%s %s %s %s by %s from %s %s",
				auditv1.Action_name[int32(e.GetAction())][len("ACTION_"):], e.GetKind(), e.GetName(), e.GetAccountId(), e.GetActor(), e.GetAddress(), e.GetReason()))
		}
	}
	return list
}
