package connector_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
)

var (
	errTokenInvalid = errs.New(errs.Unauthenticated, errs.ReasonTokenInvalid, "the authtoken is not known")
	errTokenRevoked = errs.New(errs.Unauthenticated, errs.ReasonTokenRevoked, "the authtoken was revoked")
	errSuspended    = errs.New(errs.Unauthenticated, errs.ReasonAccountDisabled, "suspended")
	errQuota        = errs.New(errs.ResourceExhausted, errs.ReasonQuotaExceeded, "too many agents")
	errNodeUnknown  = errs.New(errs.NotFound, errs.ReasonNodeUnknown, "register again")
	errCompacted    = errs.New(errs.NotFound, errs.ReasonCompacted, "too old")
	errNameTaken    = errs.New(errs.AlreadyExists, errs.ReasonNameTaken, "taken.example.com belongs to another account")
	errDown         = errs.New(errs.Unavailable, errs.ReasonUnavailable, "down")
)

// faults fails calls by method, until they are cleared.
type faults struct {
	mu   sync.Mutex
	fail map[string]error
}

func (f *faults) set(err error, methods ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = map[string]error{}
	for _, m := range methods {
		f.fail[m] = err
	}
}

func (f *faults) of(method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail[method]
}

// fakeAuth knows tokens "t-<account>"; a token's id is the token itself.
type fakeAuth struct {
	authv1.UnimplementedCredentialServiceServer
	faults

	mu          sync.Mutex
	validations int
	addresses   []string // of agents, as they were presented
	agents      int
	revoked     map[string]bool
	suspended   map[string]bool // accounts
	grants      map[string][]string
	maxAgents   uint32
	left        []string // agents of whom it was said
	full        bool
	revision    int64
	validFor    time.Duration
	watchers    map[chan *authv1.WatchRevocationsResponse]struct{}
	cut         chan struct{} // closed to break off the watches
}

func newFakeAuth() *fakeAuth {
	return &fakeAuth{
		revoked: map[string]bool{}, suspended: map[string]bool{}, grants: map[string][]string{}, validFor: time.Hour, cut: make(chan struct{}),
		watchers: map[chan *authv1.WatchRevocationsResponse]struct{}{},
	}
}

func (a *fakeAuth) Validate(_ context.Context, req *authv1.ValidateRequest) (*authv1.ValidateResponse, error) {
	if err := a.of("Validate"); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.validations++
	a.addresses = append(a.addresses, req.GetClientAddress())
	token := req.GetAuthtoken()
	if len(token) < 3 || token[:2] != "t-" {
		return nil, errTokenInvalid
	}
	if a.revoked[token] {
		return nil, errTokenRevoked
	}
	if a.suspended[token[2:]] {
		return nil, errSuspended
	}
	if a.full {
		return nil, errQuota
	}
	resp := &authv1.ValidateResponse{
		Grants: a.grants[token], MaxAgents: a.maxAgents,
		Assertion: &authv1.SignedAssertion{Assertion: []byte(token), Signature: []byte("s"), KeyId: "k"},
		AccountId: token[2:], TokenId: token, AgentId: req.GetAgentId(), ValidFor: durationpb.New(a.validFor),
	}
	if req.GetResumeToken() != "r-"+req.GetAgentId() {
		a.agents++
		resp.AgentId = fmt.Sprintf("agent%d", a.agents)
		resp.ResumeToken = "r-" + resp.AgentId
	}
	return resp, nil
}

func (a *fakeAuth) WatchRevocations(req *authv1.WatchRevocationsRequest, stream authv1.CredentialService_WatchRevocationsServer) error {
	if err := a.of("WatchRevocations"); err != nil {
		return err
	}
	events := make(chan *authv1.WatchRevocationsResponse, 16)
	a.mu.Lock()
	a.watchers[events] = struct{}{}
	cut, revision := a.cut, a.revision
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.watchers, events)
	}()
	if req.GetRevision() > 0 && a.of("resume") != nil {
		return a.of("resume")
	}
	if err := stream.Send(&authv1.WatchRevocationsResponse{Revision: revision}); err != nil {
		return err
	}
	for {
		select {
		case e := <-events:
			if err := stream.Send(e); err != nil {
				return err
			}
		case <-cut:
			return errDown
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (a *fakeAuth) GetKeys(context.Context, *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	return &authv1.GetKeysResponse{TraceMacKey: traceKey}, nil
}

var traceKey = []byte("0123456789abcdef0123456789abcdef")

// revoke marks a token and, unless it is done in silence, tells the watchers.
func (a *fakeAuth) revoke(token string, silent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revoked[token] = true
	a.revision++
	for w := range a.watchers {
		if !silent {
			w <- &authv1.WatchRevocationsResponse{TokenIds: []string{token}, Revision: a.revision}
		}
	}
}

// change changes what auth knows and tells the watchers.
func (a *fakeAuth) change(f func(), news *authv1.WatchRevocationsResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	a.revision++
	news.Revision = a.revision
	for w := range a.watchers {
		w <- news
	}
}

func (a *fakeAuth) EndAgent(_ context.Context, req *authv1.EndAgentRequest) (*authv1.EndAgentResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left = append(a.left, req.GetAccountId()+"/"+req.GetAgentId())
	return &authv1.EndAgentResponse{}, nil
}

func (a *fakeAuth) hasLeft(agent string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.left, agent)
}

// breakWatches ends all watches once.
func (a *fakeAuth) breakWatches() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.cut)
	a.cut = make(chan struct{})
}

func (a *fakeAuth) watching() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.watchers) > 0
}

// fakeRegistry keeps claims and attachments in memory.
type fakeRegistry struct {
	registryv1.UnimplementedNodeServiceServer
	registryv1.UnimplementedDirectoryServiceServer
	faults

	mu           sync.Mutex
	node         *registryv1.Node
	registration int64
	ttl          time.Duration
	synced       bool
	reattached   []*registryv1.Attachment
	claims       map[string]uint64   // hostname to generation
	taken        []*registryv1.Claim // by others
	binds        []*registryv1.BindRequest
	asked        int                            // for binds, those on hold too
	ended        map[string]agentv1.CloseReason // session to reason
	released     []string                       // tunnels
	left         bool
	refused      int // registrations
	watchers     map[chan *registryv1.WatchResponse]struct{}
	hold         chan struct{} // Bind waits for it, if set
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{
		ttl: 3 * time.Second, claims: map[string]uint64{}, ended: map[string]agentv1.CloseReason{},
		watchers: map[chan *registryv1.WatchResponse]struct{}{},
	}
}

func (r *fakeRegistry) RegisterNode(_ context.Context, req *registryv1.RegisterNodeRequest) (*registryv1.RegisterNodeResponse, error) {
	if err := r.of("RegisterNode"); err != nil {
		see(r, func() bool { r.refused++; return true })
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registration++
	r.node, r.synced, r.reattached = req.GetNode(), false, nil
	return &registryv1.RegisterNodeResponse{Registration: r.registration, LeaseTtl: durationpb.New(r.ttl)}, nil
}

func (r *fakeRegistry) Heartbeat(_ context.Context, req *registryv1.HeartbeatRequest) (*registryv1.HeartbeatResponse, error) {
	if err := r.of("Heartbeat"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.GetRegistration() != r.registration {
		return nil, errNodeUnknown
	}
	r.node.State = req.GetState()
	return &registryv1.HeartbeatResponse{LeaseTtl: durationpb.New(r.ttl)}, nil
}

func (r *fakeRegistry) DeregisterNode(context.Context, *registryv1.DeregisterNodeRequest) (*registryv1.DeregisterNodeResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
	return &registryv1.DeregisterNodeResponse{}, nil
}

func (r *fakeRegistry) Bind(ctx context.Context, req *registryv1.BindRequest) (*registryv1.BindResponse, error) {
	if err := r.of("Bind"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if hold := r.hold; hold != nil {
		r.mu.Unlock()
		select {
		case <-hold:
		case <-ctx.Done():
		}
		r.mu.Lock()
	}
	if req.GetRegistration() != r.registration {
		return nil, errNodeUnknown
	}
	r.binds = append(r.binds, req)
	host, port := req.GetHostname(), req.GetRemotePort()
	if req.GetProtocol() == proxyv1.Protocol_PROTOCOL_TCP {
		port = cmp.Or(port, 20001)
		host = fmt.Sprintf("tcp:%d", port)
	}
	switch {
	case host == "taken.example.com":
		return nil, errNameTaken
	case host == "" && req.GetSubdomain() != "":
		host = req.GetSubdomain() + ".example.com"
	case host == "":
		host = "random-" + req.GetTunnelId() + ".example.com"
	}
	if r.claims[host] == 0 {
		r.claims[host] = 1
	}
	return &registryv1.BindResponse{Hostname: host, Port: port, Generation: r.claims[host]}, nil
}

func (r *fakeRegistry) Release(_ context.Context, req *registryv1.ReleaseRequest) (*registryv1.ReleaseResponse, error) {
	if err := r.of("Release"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released = append(r.released, req.GetTunnelId())
	return &registryv1.ReleaseResponse{}, nil
}

func (r *fakeRegistry) EndSession(_ context.Context, req *registryv1.EndSessionRequest) (*registryv1.EndSessionResponse, error) {
	if err := r.of("EndSession"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended[req.GetSessionId()] = req.GetReason()
	return &registryv1.EndSessionResponse{}, nil
}

func (r *fakeRegistry) Reattach(_ context.Context, req *registryv1.ReattachRequest) (*registryv1.ReattachResponse, error) {
	if err := r.of("Reattach"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.GetRegistration() != r.registration {
		return nil, errNodeUnknown
	}
	resp := &registryv1.ReattachResponse{}
	for _, a := range req.GetAttachments() {
		if r.claims[a.GetHostname()] == a.GetGeneration() {
			r.reattached = append(r.reattached, a)
		} else {
			resp.Superseded = append(resp.Superseded, a)
		}
	}
	r.synced = r.synced || req.GetSyncDone()
	return resp, nil
}

func (r *fakeRegistry) Watch(_ *registryv1.WatchRequest, stream registryv1.DirectoryService_WatchServer) error {
	events := make(chan *registryv1.WatchResponse, 16)
	r.mu.Lock()
	r.watchers[events] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, events)
	}()
	if err := stream.Send(r.snapshot()); err != nil {
		return err
	}
	for {
		select {
		case e := <-events:
			if err := stream.Send(e); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (r *fakeRegistry) snapshot() *registryv1.WatchResponse {
	r.mu.Lock()
	defer r.mu.Unlock()
	snapshot := &registryv1.WatchResponse{Snapshot: true, Position: &registryv1.Position{Revision: 1}}
	for _, claim := range r.taken {
		snapshot.Changes = append(snapshot.Changes, &registryv1.Change{Change: &registryv1.Change_Claim{Claim: claim}})
	}
	return snapshot
}

// announce sends changes to all watchers.
func (r *fakeRegistry) announce(changes ...*registryv1.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watchers {
		w <- &registryv1.WatchResponse{Changes: changes, Position: &registryv1.Position{Revision: 2}}
	}
}

// forget loses the registration, as when its lease has run out.
func (r *fakeRegistry) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registration += 100
	r.synced = false
}

// see runs f under the lock and returns what it found.
func see[T any](r *fakeRegistry, f func() T) T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f()
}

func (r *fakeRegistry) endOf(id string) (agentv1.CloseReason, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reason, ok := r.ended[id]
	return reason, ok
}

func (r *fakeRegistry) hasReleased(tunnel string) bool {
	return see(r, func() bool { return slices.Contains(r.released, tunnel) })
}

func (r *fakeRegistry) ready(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { return see(r, func() bool { return r.synced && len(r.watchers) > 0 }) }, "the connector is registered")
}
