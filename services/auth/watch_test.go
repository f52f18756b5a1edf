package auth_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/internal/testkit/etcdkit"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/auth"
)

type revocations = grpc.ServerStreamingClient[authv1.WatchRevocationsResponse]

// watch opens a watch and waits until it stands; a replica that has just started
// asks to be tried again.
func (r *replica) watch(t *testing.T, revision int64) (revocations, *authv1.WatchRevocationsResponse) {
	t.Helper()
	var stream revocations
	var first *authv1.WatchRevocationsResponse
	connector := r.as(tlsconf.RoleConnector)
	ctx := bounded(t)
	testkit.Eventually(t, limit, func() bool {
		var err error
		if stream, err = connector.WatchRevocations(ctx, &authv1.WatchRevocationsRequest{Revision: revision}); err == nil {
			first, err = stream.Recv()
		}
		return err == nil
	}, "a watch stands")
	return stream, first
}

// ended returns the tokens of the next message that names some, and its revision.
func ended(t *testing.T, stream revocations) ([]string, int64) {
	t.Helper()
	for {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetTokenIds()) > 0 {
			return resp.GetTokenIds(), resp.GetRevision()
		}
	}
}

func (r *replica) revoke(t *testing.T, id string) {
	t.Helper()
	if _, err := r.as(tlsconf.RoleAdmin).RevokeToken(bounded(t), &authv1.RevokeTokenRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
}

func TestARevocationReachesTheWatchersOfAllReplicas(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	one, two := d.start(d.config()), d.start(d.config())
	here, first := one.watch(t, 0)
	there, _ := two.watch(t, 0)
	if len(first.GetTokenIds()) != 0 || first.GetRevision() <= 0 {
		t.Errorf("the first message is %v", first)
	}
	id := one.create(&authv1.CreateTokenRequest{}).GetToken().GetId()
	one.revoke(t, id)
	for name, stream := range map[string]revocations{"the same replica": here, "the other one": there} {
		if ids, _ := ended(t, stream); !slices.Equal(ids, []string{id}) {
			t.Errorf("%s announces %v, want %s", name, ids, id)
		}
	}
	// A connector that lost its replica goes on at another one.
	next := one.create(&authv1.CreateTokenRequest{}).GetToken().GetId()
	one.revoke(t, next)
	if _, resumed := two.watch(t, first.GetRevision()); !slices.Contains(resumed.GetTokenIds(), id) {
		t.Errorf("resumed from %d with %v, want %s", first.GetRevision(), resumed, id)
	}
}

func TestAnExpiredTokenIsAnnouncedAndRefused(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(d.config())
	stream, _ := r.watch(t, 0)
	created := r.create(&authv1.CreateTokenRequest{ValidFor: durationpb.New(300 * time.Millisecond)})
	if ids, _ := ended(t, stream); !slices.Equal(ids, []string{created.GetToken().GetId()}) {
		t.Errorf("announced %v, want %s", ids, created.GetToken().GetId())
	}
	_, err := r.as(tlsconf.RoleConnector).Validate(bounded(t), validation(created.GetAuthtoken()))
	wantReason(t, err, errs.Unauthenticated, errs.ReasonTokenExpired)
}

func TestACompactedRevisionIsRefused(t *testing.T) {
	t.Parallel()
	client := etcdkit.EtcdServer(t).Client()
	d := deployOn(t, client)
	r := d.start(d.config())
	_, first := r.watch(t, 0)
	r.create(&authv1.CreateTokenRequest{})
	now, err := client.Get(bounded(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(bounded(t), now.Header.Revision); err != nil {
		t.Fatal(err)
	}
	connector := r.as(tlsconf.RoleConnector)
	for name, revision := range map[string]int64{"compacted": first.GetRevision(), "of another history": now.Header.Revision + 1_000_000} {
		stream, err := connector.WatchRevocations(bounded(t), &authv1.WatchRevocationsRequest{Revision: revision})
		if err == nil {
			_, err = stream.Recv()
		}
		if e := wantReason(t, err, errs.NotFound, errs.ReasonCompacted); e.Message() == "" {
			t.Errorf("%s: no message", name)
		}
	}
	r.watch(t, 0)
}

func TestAWatchOutlivesARestartOfEtcd(t *testing.T) {
	t.Parallel()
	server := etcdkit.EtcdServer(t)
	d := deployOn(t, server.Client())
	r := d.start(d.config())
	stream, _ := r.watch(t, 0)
	id := r.create(&authv1.CreateTokenRequest{}).GetToken().GetId()
	server.Restart()
	testkit.Eventually(t, limit, func() bool {
		_, err := r.as(tlsconf.RoleAdmin).RevokeToken(bounded(t), &authv1.RevokeTokenRequest{Id: id})
		return err == nil
	}, "etcd is back and the token revoked")
	if ids, _ := ended(t, stream); !slices.Equal(ids, []string{id}) {
		t.Errorf("announced %v, want %s", ids, id)
	}
}

func TestAStopTellsWatchersToGoElsewhere(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	r := d.start(d.config())
	stream, _ := r.watch(t, 0)
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	_, err := stream.Recv()
	for err == nil {
		_, err = stream.Recv()
	}
	wantReason(t, err, errs.Unavailable, errs.ReasonUnavailable)
	if err := <-stopped; err != nil {
		t.Errorf("Run() = %v", err)
	}
}

func TestAStartWaitsForEtcdAndCanBeGivenUp(t *testing.T) {
	t.Parallel()
	server := etcdkit.EtcdServer(t)
	client := server.Client()
	server.Stop()
	d := deployOn(t, client)
	deps := auth.Deps{
		Etcd: client, TLS: tlsconf.ServiceServer(d.cert(tlsconf.RoleAuth, "auth"), d.ca.Pool()),
		Listener: rpc.NewMemory(), Logger: testLogger(d),
	}
	service, err := auth.New(d.config(), deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := service.Run(ctx); err != nil {
		t.Errorf("Run() = %v, want a clean stop", err)
	}
	late := d.start(d.config())
	server.Restart()
	late.create(&authv1.CreateTokenRequest{})
}
