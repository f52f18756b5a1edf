// Package session is one control connection: an authenticated stream to a
// connector. It asks for tunnels, hears what is wanted of the agent, and knows
// when the other side is dead.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/agent/spans"
)

const (
	sessionMetadata = "dialback-session"

	fastLane  = 64  // pings, pongs and failures that are not sent yet
	slowLane  = 256 // requests that are not sent yet
	maxURLs   = 16  // of one tunnel
	farewell  = time.Second
	minPing   = 10 * time.Millisecond
	maxPing   = 5 * time.Minute
	pingLimit = 2 // a timeout is at least so many intervals
)

// Handler hears what the connector wants. It is called by the goroutine that
// reads the session: it must not block.
type Handler interface {
	Dial(*Session, *agentv1.Dial)
	TunnelClosed(*Session, *agentv1.TunnelClosed)
	GoAway(*Session, *agentv1.GoAway)
	Connectors(*Session, *agentv1.Connectors)
}

type stream = grpc.BidiStreamingClient[agentv1.ConnectRequest, agentv1.ConnectResponse]

// Session is an authenticated control stream.
type Session struct {
	// Welcome is what the connector answered to Auth.
	Welcome *agentv1.AuthResp

	remote net.Addr
	cc     *grpc.ClientConn
	client agentv1.ControlServiceClient
	stream stream
	life   context.Context
	end    context.CancelCauseFunc
	began  time.Time
	heard  atomic.Int64 // when, since began

	fast, slow chan *agentv1.ConnectRequest
	closing    chan struct{}
	closeOnce  sync.Once
	tasks      sync.WaitGroup
	done       chan struct{}

	mu      sync.Mutex
	lastReq uint64
	waiting map[uint64]chan *agentv1.NewTunnel
}

func newSession(stream stream, welcome *agentv1.AuthResp) *Session {
	return &Session{
		Welcome: welcome,
		stream:  stream,
		began:   time.Now(),
		fast:    make(chan *agentv1.ConnectRequest, fastLane),
		slow:    make(chan *agentv1.ConnectRequest, slowLane),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		waiting: map[uint64]chan *agentv1.NewTunnel{},
	}
}

// start runs the session's goroutines; all end with its life.
func (s *Session) start(h Handler) {
	s.tasks.Go(func() { s.end(s.read(h)) })
	s.tasks.Go(func() { s.end(s.write()) })
	s.tasks.Go(func() { s.end(s.keepAlive()) })
	go func() {
		s.tasks.Wait()
		_ = s.cc.Close()
		close(s.done)
	}()
}

// Remote is the address of the server's end of the connection.
func (s *Session) Remote() net.Addr { return s.remote }

// Ended is closed when the session is over; Err says why.
func (s *Session) Ended() <-chan struct{} { return s.life.Done() }

// Err says why the session is over; nil while it is not.
func (s *Session) Err() error { return context.Cause(s.life) }

// Age is how long the session has lived.
func (s *Session) Age() time.Duration { return time.Since(s.began) }

// Close ends the session in order, so that the connector does not take it for
// lost, and waits until nothing of it is left.
func (s *Session) Close() {
	s.closeOnce.Do(func() { close(s.closing) })
	timer := time.AfterFunc(farewell, func() { s.end(ErrClosed) })
	<-s.done
	timer.Stop()
}

// Bind asks for a tunnel and returns its public URLs. An error of the server is
// an *errs.Error with a reason.
func (s *Session) Bind(ctx context.Context, req *agentv1.ReqTunnel) ([]string, error) {
	answers, id := s.expect()
	defer s.forget(id)
	req.ReqId = id
	if err := s.submit(ctx, &agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ReqTunnel{ReqTunnel: req}}); err != nil {
		return nil, err
	}
	var urls []string
	for {
		select {
		case answer := <-answers:
			if answer.GetError() != nil {
				return nil, refusal(answer.GetError())
			}
			if urls = append(urls, answer.GetUrl()); answer.GetLast() || len(urls) == maxURLs {
				return urls, nil
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-s.life.Done():
			return nil, s.Err()
		}
	}
}

// CloseTunnel ends a tunnel; the connector answers with TunnelClosed.
func (s *Session) CloseTunnel(ctx context.Context, id string) error {
	return s.submit(ctx, &agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_CloseTunnel{
		CloseTunnel: &agentv1.CloseTunnel{TunnelId: id},
	}})
}

// ProxyFailed says that a dial-back will not come. It never blocks: if too much
// is waiting, the frontdoor learns it from its own deadline.
func (s *Session) ProxyFailed(ticket []byte, reason agentv1.FailReason) {
	s.submitFast(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_ProxyFailed{
		ProxyFailed: &agentv1.ProxyFailed{Ticket: ticket, Reason: reason},
	}})
}

// OpenSpans opens the RPC for this session's spans.
func (s *Session) OpenSpans(ctx context.Context) (spans.Stream, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, sessionMetadata, s.Welcome.GetSessionId())
	return s.client.ExportSpans(ctx)
}

func (s *Session) expect() (chan *agentv1.NewTunnel, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastReq++
	answers := make(chan *agentv1.NewTunnel, maxURLs)
	s.waiting[s.lastReq] = answers
	return answers, s.lastReq
}

func (s *Session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, id)
}

func (s *Session) submit(ctx context.Context, m *agentv1.ConnectRequest) error {
	select {
	case s.slow <- m:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.life.Done():
		return s.Err()
	}
}

func (s *Session) submitFast(m *agentv1.ConnectRequest) {
	select {
	case s.fast <- m:
	default:
	}
}

// read ends with the stream.
func (s *Session) read(h Handler) error {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			return closedInOrder(err)
		}
		s.heard.Store(int64(s.Age()))
		s.dispatch(m, h)
	}
}

// closedInOrder names the end of a stream that carried no error.
func closedInOrder(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrGone
	}
	return err
}

func (s *Session) dispatch(m *agentv1.ConnectResponse, h Handler) {
	switch m := m.GetMessage().(type) {
	case *agentv1.ConnectResponse_NewTunnel:
		s.answer(m.NewTunnel)
	case *agentv1.ConnectResponse_TunnelClosed:
		h.TunnelClosed(s, m.TunnelClosed)
	case *agentv1.ConnectResponse_ReqProxy:
		for _, dial := range m.ReqProxy.GetDials() {
			h.Dial(s, dial)
		}
	case *agentv1.ConnectResponse_Ping:
		s.submitFast(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Pong{
			Pong: &agentv1.Pong{Id: m.Ping.GetId(), Uptime: durationpb.New(s.Age())},
		}})
	case *agentv1.ConnectResponse_GoAway:
		h.GoAway(s, m.GoAway)
	case *agentv1.ConnectResponse_Connectors:
		h.Connectors(s, m.Connectors)
	}
}

// answer hands NewTunnel to whoever asked. Nobody is kept waiting by one who
// answers more than there can be.
func (s *Session) answer(m *agentv1.NewTunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.waiting[m.GetReqId()] <- m: // nil for an unknown id: never ready
	default:
	}
}

// write is the only goroutine that sends. The fast lane goes first.
func (s *Session) write() error {
	for {
		var m *agentv1.ConnectRequest
		select {
		case m = <-s.fast:
		default:
			select {
			case m = <-s.fast:
			case m = <-s.slow:
			case <-s.closing:
				return s.hangUp()
			case <-s.life.Done():
				return nil
			}
		}
		if err := s.stream.Send(m); err != nil {
			<-s.life.Done() // the reader has the reason
			return nil
		}
	}
}

// hangUp says goodbye and leaves the end of the session to the other side's
// answer, or to Close.
func (s *Session) hangUp() error {
	if err := s.stream.CloseSend(); err != nil {
		return ErrClosed
	}
	<-s.life.Done()
	return nil
}

// keepAlive pings, and ends the session when nothing at all has come for the
// timeout. Whatever comes proves that the other side lives.
func (s *Session) keepAlive() error {
	interval := min(max(s.Welcome.GetPingInterval().AsDuration(), minPing), maxPing)
	timeout := min(max(s.Welcome.GetPingTimeout().AsDuration(), pingLimit*interval), pingLimit*maxPing)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for id := uint64(1); ; id++ {
		select {
		case <-s.life.Done():
			return nil
		case <-ticker.C:
		}
		if silent := s.Age() - time.Duration(s.heard.Load()); silent > timeout {
			return fmt.Errorf("%w for %v", ErrSilent, silent.Round(time.Second))
		}
		s.submitFast(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Ping{Ping: &agentv1.Ping{Id: id}}})
	}
}
