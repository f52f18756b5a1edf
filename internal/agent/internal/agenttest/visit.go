package agenttest

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/proxyconn"
)

// Begin starts an HTTP exchange for a tunnel.
func (s *Server) Begin(conn *proxyconn.Server, tunnel string, trace *proxyv1.TraceContext) *proxyconn.ServerExchange {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	defer cancel()
	e, err := conn.Start(ctx, &proxyv1.Start{
		TunnelId: tunnel, Url: "http://x.localhost", Protocol: proxyv1.Protocol_PROTOCOL_HTTP, ClientAddress: "192.0.2.1:1", Trace: trace,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// Get makes a request on an exchange and returns the status and the body.
func (s *Server) Get(e *proxyconn.ServerExchange, path string, req *proxyv1.Req) (int, string) {
	s.t.Helper()
	if err := e.BeginRequest(req); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.Copy(e, strings.NewReader("GET "+path+" HTTP/1.1\r\nHost: x.localhost\r\n\r\n")); err != nil {
		s.t.Fatal(err)
	}
	_ = e.SetReadDeadline(time.Now().Add(Limit))
	resp, err := http.ReadResponse(bufio.NewReader(e), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	e.EndRequest()
	return resp.StatusCode, string(body)
}

// Visit is a whole visit by a new proxy connection.
func (s *Server) Visit(session *Session, tunnel, path string) (int, string) {
	s.t.Helper()
	conn := s.DialBack(session, nil)
	e := s.Begin(conn, tunnel, nil)
	status, body := s.Get(e, path, &proxyv1.Req{})
	_ = e.Close()
	conn.Retire()
	return status, body
}

// Answer is what becomes of a START: nil, or the refusal.
func (s *Server) Answer(e *proxyconn.ServerExchange) error {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	defer cancel()
	_, err := e.AwaitResp(ctx)
	return err
}
