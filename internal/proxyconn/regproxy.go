package proxyconn

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

const (
	minTicket = 16
	maxTicket = 64
)

// readRegProxy reads an agent's introduction and not one byte more: what
// follows belongs to the frames.
func readRegProxy(r io.Reader) (*proxyv1.RegProxy, error) {
	size, err := readSize(r)
	if err != nil {
		return nil, err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, unexpected(err)
	}
	reg := new(proxyv1.RegProxy)
	if err := proto.Unmarshal(body, reg); err != nil {
		return nil, violation("RegProxy: %v", err)
	}
	if n := len(reg.GetTicket()); n < minTicket || n > maxTicket {
		return nil, violation("a ticket of %d bytes", n)
	}
	return reg, nil
}

// readSize reads a varint of at most two bytes, which is enough for 4096.
func readSize(r io.Reader) (int, error) {
	var b [2]byte
	for i := range b {
		if _, err := io.ReadFull(r, b[i:i+1]); err != nil {
			return 0, err
		}
		if b[i] < 0x80 {
			size, _ := binary.Uvarint(b[:i+1])
			if size > maxRegProxy {
				return 0, violation("RegProxy of %d bytes", size)
			}
			return int(size), nil
		}
	}
	return 0, violation("RegProxy of more than %d bytes", maxRegProxy)
}

// appendRegProxy is readRegProxy's other half.
func appendRegProxy(reg *proxyv1.RegProxy) ([]byte, error) {
	size := proto.Size(reg)
	if size > maxRegProxy {
		return nil, fmt.Errorf("proxyconn: RegProxy of %d bytes", size)
	}
	b := binary.AppendUvarint(nil, uint64(size))
	return proto.MarshalOptions{}.MarshalAppend(b, reg)
}

// bounded runs f, which reads from or writes to c, and interrupts it after the
// timeout or when ctx ends. An error of ctx is returned in place of f's.
func bounded(ctx context.Context, c net.Conn, timeout time.Duration, f func() error) error {
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetDeadline(past)
		close(interrupted)
	})
	err := f()
	if !stop() {
		<-interrupted // or it would set its deadline after ours
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
