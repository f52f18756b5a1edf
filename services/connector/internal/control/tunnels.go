package control

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"strconv"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/connector/internal/directory"
	"github.com/dialback/dialback/services/connector/internal/session"
)

const (
	// Caps of a ReqTunnel, in bytes or entries.
	maxName         = 1024
	maxOptions      = 8 << 10
	maxCritical     = 16
	maxCriticalName = 64
	maxMetadata     = 16
	maxMetadataSize = 1 << 10
	maxPort         = 1<<16 - 1
	// closeWithin is how long an agent waits for the registry when it closes a
	// tunnel; the release itself is kept and said later.
	closeWithin = 3 * time.Second
)

var (
	errTunnel = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument, "the request for a tunnel is malformed")
	errProto  = errs.New(errs.FailedPrecondition, errs.ReasonOptionUnsupported,
		"this server offers http and tcp tunnels only")
	errTooFast = errs.New(errs.ResourceExhausted, errs.ReasonOverloaded,
		"too many tunnels are being asked for at once; retry").WithRetry(time.Second)
)

// reqTunnel has a tunnel bound. Requests about one tunnel are handled in order,
// different ones side by side, some at a time; the reader waits for none.
func (a *agent) reqTunnel(req *agentv1.ReqTunnel) {
	if err := checkTunnel(req); err != nil {
		a.refuse(req, err)
		return
	}
	if !a.do(req.GetTunnelId(), func() { a.bind(req) }) {
		a.refuse(req, errTooFast)
	}
}

// do has a job about a tunnel run, when it is its turn and the session's pace
// allows it; false: as many wait as may.
func (a *agent) do(tunnelID string, job func()) bool {
	return a.jobs.Do(tunnelID, func() {
		if a.jobPace.Wait(a.stream.Context()) == nil {
			a.guard(job)
		}
	})
}

func (a *agent) bind(req *agentv1.ReqTunnel) {
	again, err := a.server.table.Reserve(a.session, req.GetTunnelId(), a.maxTunnels)
	if err != nil {
		a.refuse(req, err)
		return
	}
	tunnel, err := a.server.names.Bind(a.stream.Context(), a.session, directory.Request{
		TunnelID: req.GetTunnelId(), Protocol: req.GetProtocol(),
		Hostname: req.GetHostname(), Subdomain: req.GetSubdomain(), RemotePort: req.GetRemotePort(), Pooling: req.GetPooling(),
		Options: req.GetOptions(), Critical: req.GetCritical(), Metadata: req.GetMetadata(),
	})
	if err != nil {
		if !again {
			a.server.table.Detach(a.session, req.GetTunnelId())
		}
		a.refuse(req, err)
		return
	}
	a.server.log.InfoContext(a.stream.Context(), "tunnel bound", a.describe(
		"tunnel", tunnel.ID, "hostname", tunnel.Hostname, "generation", tunnel.Generation)...)
	urls := a.server.urls(tunnel)
	for i, url := range urls {
		a.tell(session.NewTunnel{
			ReqID: req.GetReqId(), TunnelID: tunnel.ID, URL: url, Protocol: int32(req.GetProtocol()), Last: i == len(urls)-1,
		})
	}
	a.server.keeper.Enforce(a.session)
}

// refuse answers a ReqTunnel with the public side of err, which is logged here.
func (a *agent) refuse(req *agentv1.ReqTunnel, err error) {
	a.server.log.InfoContext(a.stream.Context(), "tunnel refused", a.describe("tunnel", clip(req.GetTunnelId()), "error", err)...)
	a.tell(session.NewTunnel{
		ReqID: req.GetReqId(), TunnelID: clip(req.GetTunnelId()), Protocol: int32(req.GetProtocol()), Err: err, Last: true,
	})
}

func (a *agent) tell(m session.Message) { a.server.table.Tell(a.session, m) }

// closeTunnel ends a tunnel at once for frontdoors, then at the registry, then
// for the agent. One that is not there is closed already.
func (a *agent) closeTunnel(req *agentv1.CloseTunnel) {
	id := req.GetTunnelId()
	if !validTunnelID(id) {
		a.unknown.Add(1)
		return
	}
	if !a.do(id, func() { a.release(id) }) {
		a.server.table.End(a.session, session.Unresponsive, errTooFast)
	}
}

func (a *agent) release(id string) {
	if a.server.table.Detach(a.session, id) {
		a.server.table.PublishTunnel(a.session, id, session.Closed)
	}
	said := a.server.names.Release(a.session, id, session.Closed)
	timer := time.NewTimer(closeWithin)
	defer timer.Stop()
	select {
	case <-said:
	case <-timer.C:
	}
	a.tell(session.TunnelClosed{TunnelID: id, Reason: session.Closed})
	// The next request for this tunnel must not overtake its release.
	select {
	case <-said:
	case <-a.session.Done():
	}
}

// checkTunnel checks a ReqTunnel's form: names are for the registry to judge.
func checkTunnel(req *agentv1.ReqTunnel) error {
	switch {
	case !validTunnelID(req.GetTunnelId()):
		return errTunnel.WithField("tunnel_id", "want 32 lower-case hexadecimal digits")
	case req.GetProtocol() != proxyv1.Protocol_PROTOCOL_HTTP && req.GetProtocol() != proxyv1.Protocol_PROTOCOL_TCP:
		return errProto
	case req.GetRemotePort() > maxPort:
		return errTunnel.WithField("remote_port", "want 1 to 65535")
	case req.GetName() != nil && req.GetHostname() == "" && req.GetSubdomain() == "" && req.GetRemotePort() == 0:
		return errTunnel.WithField("name", "empty; leave it out for a random one")
	case len(req.GetHostname()) > maxName || len(req.GetSubdomain()) > maxName:
		return errTunnel.WithField("name", "too long")
	case len(req.GetOptions()) > maxOptions:
		return errTunnel.WithField("options", "want at most 8 KiB")
	}
	return checkLists(req)
}

func checkLists(req *agentv1.ReqTunnel) error {
	size := 0
	for k, v := range req.GetMetadata() {
		size += len(k) + len(v)
	}
	if len(req.GetMetadata()) > maxMetadata || size > maxMetadataSize {
		return errTunnel.WithField("metadata", "want at most 16 entries and 1 KiB")
	}
	if len(req.GetCritical()) > maxCritical {
		return errTunnel.WithField("critical", "want at most 16 entries")
	}
	for _, name := range req.GetCritical() {
		if len(name) > maxCriticalName {
			return errTunnel.WithField("critical", "want names of at most 64 bytes")
		}
	}
	return nil
}

func validTunnelID(id string) bool {
	var raw [16]byte
	if len(id) != 2*len(raw) {
		return false
	}
	_, err := hex.Decode(raw[:], []byte(id))
	return err == nil && hex.EncodeToString(raw[:]) == id
}

// urls returns the public URLs of a tunnel, the one to pass on first; default
// ports are left out.
func (s *Server) urls(tunnel session.Tunnel) []string {
	if tunnel.Port != 0 {
		return []string{"tcp://" + net.JoinHostPort(s.cfg.Domain, strconv.Itoa(int(tunnel.Port)))}
	}
	hostname := cmp.Or(tunnel.Pool, tunnel.Hostname)
	var urls []string
	for _, offer := range []struct {
		scheme         string
		port, standard int
	}{{"https", s.cfg.HTTPSPort, 443}, {"http", s.cfg.HTTPPort, 80}} {
		switch offer.port {
		case 0:
		case offer.standard:
			urls = append(urls, offer.scheme+"://"+hostname)
		default:
			urls = append(urls, offer.scheme+"://"+hostname+":"+strconv.Itoa(offer.port))
		}
	}
	return urls
}

// publicError is what an agent may see of a refusal.
func publicError(err error) *agentv1.Error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = directory.ErrAway
	}
	e, ok := errs.From(err)
	if !ok {
		e = errs.New(errs.Internal, errs.ReasonInternal, "internal error")
	}
	return toWireError(e)
}
