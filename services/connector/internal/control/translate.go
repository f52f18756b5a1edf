package control

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/connector/internal/session"
)

// toWire translates a message for the agent. Absolute times become durations
// here, at the last moment.
func toWire(m session.Message, opened time.Time) *agentv1.ConnectResponse {
	switch m := m.(type) {
	case session.Ping:
		return &agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_Ping{Ping: &agentv1.Ping{Id: m.ID}}}
	case session.Pong:
		return &agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_Pong{Pong: &agentv1.Pong{
			Id: m.ID, Uptime: durationpb.New(time.Since(opened)),
		}}}
	case session.NewTunnel:
		return &agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_NewTunnel{NewTunnel: newTunnel(m)}}
	case session.TunnelClosed:
		return &agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_TunnelClosed{TunnelClosed: &agentv1.TunnelClosed{
			TunnelId: m.TunnelID, Reason: agentv1.CloseReason(m.Reason), Message: m.Text,
		}}}
	case session.GoAway:
		return &agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_GoAway{GoAway: &agentv1.GoAway{
			Reason: agentv1.CloseReason(m.Reason), Message: m.Text,
			Deadline: durationpb.New(m.Deadline), Spread: durationpb.New(m.Spread),
		}}}
	case session.Connectors:
		return &agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_Connectors{Connectors: &agentv1.Connectors{
			Others: m.Others, Spread: durationpb.New(m.Spread),
		}}}
	case session.ReqProxy:
		return &agentv1.ConnectResponse{Message: &agentv1.ConnectResponse_ReqProxy{ReqProxy: reqProxy(m, time.Now())}}
	}
	panic("a message without translation") // the domain's list and this one are one
}

func newTunnel(m session.NewTunnel) *agentv1.NewTunnel {
	t := &agentv1.NewTunnel{
		ReqId: m.ReqID, TunnelId: m.TunnelID, Url: m.URL, Last: m.Last,
		Protocol: proxyv1.Protocol(m.Protocol),
	}
	if m.Err != nil {
		t.Error = publicError(m.Err)
	}
	return t
}

func reqProxy(m session.ReqProxy, now time.Time) *agentv1.ReqProxy {
	req := &agentv1.ReqProxy{Dials: make([]*agentv1.Dial, 0, len(m.Dials))}
	for _, d := range m.Dials {
		dial := &agentv1.Dial{
			Ticket: []byte(d.Ticket), Addresses: d.Addresses, ServerName: d.ServerName,
			Remaining: durationpb.New(d.Deadline.Sub(now)),
		}
		if d.Trace.Parent != "" {
			dial.Trace = &proxyv1.TraceContext{Traceparent: d.Trace.Parent, Tracestate: d.Trace.State, Mac: d.Trace.MAC}
		}
		req.Dials = append(req.Dials, dial)
	}
	return req
}

// toWireError says, beside the reason, whether a retry by itself makes sense.
func toWireError(e *errs.Error) *agentv1.Error {
	wire := &agentv1.Error{Reason: string(e.Reason()), Message: e.Message()}
	for _, f := range e.Fields() {
		wire.Message += "; " + f.Name + ": " + f.Description
	}
	retry := e.RetryAfter()
	if retry == 0 && (e.Kind() == errs.Unavailable || e.Kind() == errs.Internal) {
		retry = time.Second
	}
	if retry > 0 {
		wire.RetryAfter = durationpb.New(retry)
	}
	return wire
}
