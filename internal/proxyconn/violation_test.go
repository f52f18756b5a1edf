package proxyconn

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

func join(frames ...[]byte) (all []byte) {
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}

// Everything that an agent may not say ends the connection, with a reset.
func TestServerClosesOnViolations(t *testing.T) {
	t.Parallel()
	const ok = proxyv1.Code_CODE_OK
	const refused = proxyv1.Code_CODE_UPSTREAM_REFUSED
	for name, tc := range map[string]struct {
		idle, http bool
		sent       string // by the frontdoor, before
		frames     []byte
	}{
		"DATA while idle":            {idle: true, frames: data("x")},
		"empty DATA while idle":      {idle: true, frames: data("")},
		"DATA_DELIVERED while idle":  {idle: true, frames: delivered(0, "x")},
		"FIN while idle":             {idle: true, frames: fin(0, 0)},
		"STOP while idle":            {idle: true, frames: stop(0)},
		"ACK while idle":             {idle: true, frames: ack(1)},
		"RESET while idle":           {idle: true, frames: reset(0, 0)},
		"START from the agent":       {idle: true, frames: begin(1, protoTCP)},
		"REQ from the agent":         {idle: true, frames: req(1, 1)},
		"DGRAM":                      {idle: true, frames: frame(fDgram, "x")},
		"unknown type":               {idle: true, frames: frame(0x3f, "")},
		"type zero":                  {idle: true, frames: frame(0, "")},
		"frame too long":             {idle: true, frames: []byte{0x40, 0, 0x3f, 0xfd}},
		"short PING":                 {idle: true, frames: frame(fPing, "1234567")},
		"long PONG":                  {idle: true, frames: frame(fPong, "123456789")},
		"RETIRE with a payload":      {idle: true, frames: frame(fRetire, "x")},
		"garbage in ACK":             {frames: frame(fAck, "\xff\xff")},
		"ACK of another exchange":    {frames: ack(2)},
		"second ACK":                 {frames: join(ack(1), ack(1))},
		"RESP without ACK":           {frames: resp(1, ok)},
		"RESP of another exchange":   {frames: join(ack(1), resp(2, ok))},
		"second RESP":                {frames: join(accepted(1), resp(1, ok))},
		"RESP behind a refusal":      {frames: join(ack(1), resp(1, refused), resp(1, ok))},
		"DATA before RESP":           {frames: join(ack(1), data("x"))},
		"FIN before RESP":            {frames: join(ack(1), fin(1, 0))},
		"STOP before RESP":           {frames: join(ack(1), stop(1))},
		"DATA behind a refusal":      {frames: join(ack(1), resp(1, refused), data("x"))},
		"FIN behind a refusal":       {frames: join(ack(1), resp(1, refused), fin(1, 0))},
		"DATA behind FIN":            {frames: join(accepted(1), fin(1, 0), data("x"))},
		"second FIN":                 {frames: join(accepted(1), fin(1, 0), fin(1, 0))},
		"FIN of another exchange":    {frames: join(accepted(1), fin(2, 0))},
		"STOP of the next exchange":  {frames: join(accepted(1), stop(2))},
		"RESET of another exchange":  {frames: join(accepted(1), reset(2, 0))},
		"second STOP":                {frames: join(accepted(1), stop(1), stop(1))},
		"FIN delivers too much":      {frames: join(accepted(1), fin(1, 6)), sent: "12345"},
		"RESET delivers too much":    {frames: join(accepted(1), reset(1, 6)), sent: "12345"},
		"DATA delivers too much":     {frames: join(accepted(1), delivered(6, "x")), sent: "12345"},
		"refusal delivers too much":  {frames: join(ack(1), frame(fResp, &proxyv1.Resp{Exchange: 1, Code: refused, Delivered: 1}))},
		"delivered runs backwards":   {frames: join(accepted(1), delivered(5, "x"), delivered(4, "x")), sent: "12345"},
		"short DATA_DELIVERED":       {frames: join(accepted(1), frame(fDelivered, "1234567"))},
		"HTTP reply without request": {http: true, frames: join(accepted(1), data("x"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, agent := rawAgent(t, long)
			if !tc.idle {
				protocol := protoTCP
				if tc.http {
					protocol = protoHTTP
				}
				e := start(t, s, protocol)
				if tc.sent != "" {
					if _, err := e.Write([]byte(tc.sent)); err != nil {
						t.Fatal(err)
					}
				}
				go func() { // somebody reads, as behind every exchange
					b := make([]byte, 10)
					for {
						if _, err := e.Read(b); err != nil {
							return
						}
					}
				}()
			}
			agent.send(tc.frames)
			await(t, s.Done(), "end of the connection")
			var wrong *ProtocolError
			if err := s.Err(); !errors.As(err, &wrong) && !(tc.http && errors.Is(err, ErrUnsolicited)) {
				t.Fatalf("ended with %v", err)
			}
			agent.expectEnd()
		})
	}
}

// The same for what a frontdoor may not say.
func TestClientClosesOnViolations(t *testing.T) {
	t.Parallel()
	chunk := strings.Repeat("x", MaxPayload)
	for name, frames := range map[string][]byte{
		"DATA while idle":           data("x"),
		"FIN while idle":            fin(0, 0),
		"FIN of the future":         fin(1, 0),
		"RESET while idle":          reset(0, 0),
		"START from 2":              begin(2, protoTCP),
		"START from 0":              begin(0, protoTCP),
		"second START":              join(begin(1, protoTCP), begin(2, protoTCP)),
		"ACK from the frontdoor":    ack(1),
		"RESP from the frontdoor":   resp(1, proxyv1.Code_CODE_OK),
		"DATA_DELIVERED":            join(begin(1, protoTCP), delivered(0, "x")),
		"DGRAM":                     join(begin(1, protoTCP), frame(fDgram, "x")),
		"unknown type":              frame(0x3f, ""),
		"frame too long":            {0x40, 0, 0x3f, 0xfd},
		"garbage in START":          frame(fStart, "\xff\xff"),
		"REQ on a TCP exchange":     join(begin(1, protoTCP), req(1, 1)),
		"REQ from 2":                join(begin(1, protoHTTP), req(1, 2)),
		"second REQ before RESP":    join(begin(1, protoHTTP), req(1, 1), req(1, 2)),
		"REQ of another exchange":   join(begin(1, protoHTTP), req(2, 1)),
		"HTTP without REQ":          join(begin(1, protoHTTP), data("x")),
		"DATA behind FIN":           join(begin(1, protoTCP), fin(1, 0), data("x")),
		"second FIN":                join(begin(1, protoTCP), fin(1, 0), fin(1, 0)),
		"REQ behind FIN":            join(begin(1, protoHTTP), fin(1, 0), req(1, 1)),
		"second STOP":               join(begin(1, protoTCP), stop(1), stop(1)),
		"more than 64 KiB too soon": join(begin(1, protoTCP), data(chunk), data(chunk), data(chunk), data(chunk), data(chunk)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, served, frontdoor := rawFrontdoor(t, long, func(_ context.Context, e *ClientExchange) {
				<-e.end
			})
			frontdoor.send(frames)
			var wrong *ProtocolError
			if err := await(t, served, "end of Serve"); !errors.As(err, &wrong) {
				t.Fatalf("Serve ended with %v", err)
			}
			frontdoor.expectEnd()
		})
	}
}

func TestUnknownFramesFrom0x40AreSkipped(t *testing.T) {
	t.Parallel()
	services := make(chan *net.TCPConn, 1)
	_, _, frontdoor := rawFrontdoor(t, long, pipeTo(t, services))
	frontdoor.send(frame(0x40, "later"), frame(0xff, ""), begin(1, protoTCP), frame(0x77, strings.Repeat("y", MaxPayload)))
	frontdoor.expect(fAck, nil)

	s, agent := rawAgent(t, long)
	e := start(t, s, protoTCP)
	agent.send(frame(0x40, "later"), accepted(1), frame(0xfe, "x"), data("hello"), frame(0x41, ""), fin(1, 0))
	b := make([]byte, 10)
	if n, err := e.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Fatalf("%q, %v", b[:n], err)
	}
}
