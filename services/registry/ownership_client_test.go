package registry_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	plenty = 10_000 // endpoints: a quota that is kept, and never used up
	roams  = 3      // names between which a rover moves, beside random ones
)

// team is an account: the agent that fights for names with the others', and one
// that moves from name to name with a single tunnel.
type team struct {
	agent, rover agent
	tunnels      map[string]string // of the agent, by name
	roaming      string            // the rover's tunnel
	quota        uint32            // 0: the account is not counted
}

// client is one process of each of a team's agents.
type client struct {
	*fight
	team       *team
	agent      agent
	id         int
	random     *rand.Rand
	session    string
	has        string                 // a name that it was given
	attachment *registryv1.Attachment // the last one that it was given
	connectors []*node                // the same one, through each replica
	frontdoors []*node
	late       sync.WaitGroup // calls whose answer nobody waits for
}

func newClient(f *fight, team *team, id int) *client {
	c := &client{
		fight: f, team: team, agent: team.agent.restarted(), id: id,
		random: rand.New(rand.NewPCG(f.seed, uint64(id))), session: randomHex(8), // #nosec G404 G115 -- no secret
	}
	own := f.replicas[0].connector(fmt.Sprintf("c%d", id))
	for _, replica := range f.replicas {
		c.connectors = append(c.connectors, own.through(replica, tlsconf.RoleConnector))
		c.frontdoors = append(c.frontdoors, replica.node(tlsconf.RoleFrontdoor, fmt.Sprintf("f%d", id)))
	}
	return c
}

func (c *client) run(operations int) {
	defer c.late.Wait()
	for {
		n := int(c.next.Add(1)) - 1
		if n >= operations {
			return
		}
		c.act(nameOf(n/roundLength*namesAtOnce+c.random.IntN(namesAtOnce)), c.random.IntN(int(c.serving.Load())))
	}
}

// act does something.
func (c *client) act(name string, replica int) {
	if c.has != "" {
		name = c.has // it would forget this one, and keep it for ever
	}
	switch draw := c.random.IntN(100); {
	case c.has != "" && draw < 57:
		c.giveUp(replica, draw)
	case draw < 57:
		c.do(call{deed: bindName, name: name}, replica, c.bind)
		switch {
		case draw < 25:
			c.endSession(replica)() // nothing is attached, be it a moment later
		case draw < 55 && c.has == name:
			c.giveUp(replica, draw) // the name is free as it was, and yet it is not
		}
	case draw < 68:
		c.do(call{deed: releaseName, name: name}, replica, c.release)
	case draw < 78:
		c.do(call{deed: lookUpName, name: name}, replica, c.lookup)
	case draw < 82:
		c.late.Go(c.endSession(replica)) // word of a connection that has broken, and stands again
	case draw < 85:
		c.late.Go(c.sayAgain(replica))
	case draw < 97:
		c.roam(replica)
	default:
		c.crash(replica)
	}
}

// giveUp releases the name that the client has. Its connector may not have heard
// of it when it says what it has, and what it says of a session that has ended may
// come when the name is bound again.
func (c *client) giveUp(replica, draw int) {
	name := c.has
	if draw < 10 {
		c.late.Go(c.sayAgain(replica))
	}
	again := draw >= 10 && draw < 30
	if again {
		c.late.Go(c.endSession(replica))
	}
	c.do(call{deed: releaseName, name: name}, replica, c.release)
	if c.has = ""; again {
		c.do(call{deed: bindName, name: name}, replica, c.bind)
	}
}

// crash begins a new process, which takes the name back that the old one had. The
// old one's session ends, now or late, or nobody says so.
func (c *client) crash(replica int) {
	switch end := c.endSession(replica); c.random.IntN(3) {
	case 0:
		end()
	case 1:
		c.late.Go(end)
	}
	name := c.has
	c.agent, c.session, c.has = c.agent.restarted(), randomHex(8), ""
	if name != "" {
		c.do(call{deed: bindName, name: name}, replica, c.bind)
	}
}

func (c *client) endSession(replica int) func() {
	n, session := c.connectors[replica], c.session
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		defer cancel()
		_, err := n.directory.EndSession(ctx, &registryv1.EndSessionRequest{NodeId: n.id, SessionId: session})
		c.wantRetryable("end a session", err)
	}
}

// sayAgain has the connector write the last attachment again, which may have been
// superseded long ago.
func (c *client) sayAgain(replica int) func() {
	n, attachment := c.connectors[replica], c.attachment
	return func() {
		if attachment == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		defer cancel()
		resp, err := n.directory.Reattach(ctx, &registryv1.ReattachRequest{
			NodeId: n.id, Registration: n.registration, Attachments: []*registryv1.Attachment{attachment},
		})
		c.wantRetryable("attach again", err)
		if err == nil && len(resp.GetSuperseded()) == 0 {
			c.reattached.Add(1)
		}
	}
}

// roam has the rover's tunnel get another name, or none. All of its processes are
// one to the registry: they are several sessions. What ends a session may come when
// that has bound the name again, for nobody else wants it meanwhile.
func (c *client) roam(replica int) {
	name := "" // a random one, which stays parked
	switch draw := c.random.IntN(roams + 3); {
	case draw < roams:
		name = fmt.Sprintf("roam-%d.%s.%s", draw, c.team.agent.account, domain)
	case draw > roams+1:
		c.roamNowhere(replica)
		return
	}
	c.roamTo(replica, name)
	if c.random.IntN(3) == 0 {
		c.late.Go(c.endSession(replica))
		c.roamNowhere(replica)
		c.roamTo(replica, name)
	}
}

func (c *client) roamTo(replica int, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	n := c.connectors[replica]
	_, err := n.directory.Bind(ctx, c.bindOf(n, c.team.rover, c.team.roaming, name))
	c.wantRetryable("bind a roaming tunnel", err)
}

func (c *client) roamNowhere(replica int) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	n := c.connectors[replica]
	_, err := n.directory.Release(ctx, c.releaseOf(n, c.team.rover, c.team.roaming))
	c.wantRetryable("release a roaming tunnel", err)
}

func (c *client) wantRetryable(what string, err error) {
	if err != nil && !retryable(err) {
		c.d.t.Errorf("%s: %v", what, err)
	}
}

// do does one operation and writes down what came of it.
func (c *client) do(what call, replica int, f func(context.Context, string, int) (answer, error)) {
	what.agent, what.instance = c.agent.id, hex.EncodeToString(c.agent.instance)
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	o := porcupine.Operation{ClientId: c.id, Input: what, Call: time.Since(c.clock).Nanoseconds()}
	a, err := f(ctx, what.name, replica)
	o.Return = time.Since(c.clock).Nanoseconds()
	if err != nil {
		c.wantRetryable(fmt.Sprintf("%+v", what), err)
		c.unknown.Add(1)
		if what.deed == lookUpName {
			return // it has neither told nor changed anything
		}
		a, o.Return = answer{unknown: true}, math.MaxInt64
	}
	o.Output = a
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history = append(c.history, o)
}

// retryable holds for what an agent would ask again after.
func retryable(err error) bool {
	e, ours := errs.From(err)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || ours && e.Kind() == errs.Unavailable
}

func (c *client) bindOf(n *node, a agent, tunnel, name string) *registryv1.BindRequest {
	req := &registryv1.BindRequest{
		Assertion: c.d.assertion(a, n.name, func(m *authv1.Assertion) { m.MaxEndpoints = c.team.quota }), Registration: n.registration,
		NodeId: n.id, SessionId: c.session, TunnelId: tunnel, Protocol: proxyv1.Protocol_PROTOCOL_HTTP,
	}
	if name != "" {
		req.Name = &registryv1.BindRequest_Hostname{Hostname: name}
	}
	return req
}

func (c *client) bind(ctx context.Context, name string, replica int) (answer, error) {
	n := c.connectors[replica]
	resp, err := n.directory.Bind(ctx, c.bindOf(n, c.agent, c.team.tunnels[name], name))
	switch {
	case errors.Is(err, errTaken):
		c.refused.Add(1)
		return answer{refused: true}, nil
	case err == nil:
		c.granted.Add(1)
		c.has = name
		c.attachment = &registryv1.Attachment{Hostname: name, Generation: resp.GetGeneration(), ConnectorId: n.id, SessionId: c.session}
	}
	return answer{generation: resp.GetGeneration()}, err
}

func (c *client) releaseOf(n *node, a agent, tunnel string) *registryv1.ReleaseRequest {
	return &registryv1.ReleaseRequest{
		Assertion: c.d.assertion(a, n.name), TunnelId: tunnel, Reason: agentv1.CloseReason_CLOSE_REASON_CLOSED, NodeId: n.id,
	}
}

func (c *client) release(ctx context.Context, name string, replica int) (answer, error) {
	n := c.connectors[replica]
	_, err := n.directory.Release(ctx, c.releaseOf(n, c.agent, c.team.tunnels[name]))
	return answer{}, err
}

func (c *client) lookup(ctx context.Context, name string, replica int) (answer, error) {
	resp, err := c.frontdoors[replica].directory.Lookup(ctx, &registryv1.LookupRequest{Hostname: name})
	if errors.Is(err, errNotFound) {
		return answer{}, nil
	}
	claim := resp.GetClaim()
	return answer{generation: claim.GetGeneration(), agent: claim.GetAgentId(), instance: hex.EncodeToString(claim.GetInstance())}, err
}
