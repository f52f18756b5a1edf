package httpproxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
)

var (
	errOtherProtocol = errors.New("the answer switches to a protocol that was not asked for")
	errNoSwitch      = errors.New("the visitor's connection cannot switch protocols")
)

// switchProtocols joins the visitor's connection and the service's, behind a 101.
// It returns when both directions have ended, or one has failed.
func (c *carriedCall) switchProtocols(out *outbound, res *http.Response) error {
	service := res.Body.(*upgraded)
	defer func() { _ = service.Close() }()
	if !strings.EqualFold(upgradeOf(res.Header), out.upgrade) {
		return errOtherProtocol
	}
	conn, rw, err := c.visitor.Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		return errNoSwitch
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	if writeSwitch(rw.Writer, res.Header) != nil {
		return nil
	}
	behind := io.LimitReader(rw.Reader, int64(rw.Reader.Buffered())) // what has come with the request
	ended := make(chan error, 2)
	go func() { ended <- oneWay(service, io.MultiReader(behind, conn)) }()
	go func() { ended <- oneWay(conn, service) }()
	left := 2
	for err == nil && left > 0 {
		err = <-ended
		left--
	}
	_ = service.Close()
	_ = conn.Close()
	for ; left > 0; left-- {
		<-ended //nolint:errcheck // it is what the closing has done
	}
	return nil
}

func writeSwitch(w *bufio.Writer, header http.Header) error {
	writeAll(w, "HTTP/1.1 101 Switching Protocols\r\n")
	writeFields(w, header)
	writeAll(w, "\r\n")
	return w.Flush()
}

// oneWay copies one direction and passes its end on.
func oneWay(dst io.Writer, src io.Reader) error {
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	if half, ok := dst.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed // it has no halves
}
