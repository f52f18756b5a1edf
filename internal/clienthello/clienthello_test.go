package clienthello

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// helloBytes is what crypto/tls says first.
func helloBytes(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() { _ = tls.Client(client, config).Handshake() }()
	defer client.Close()
	_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
	head := make([]byte, 5)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(head, body)
}

// refragment cuts a record into records of n bytes.
func refragment(record []byte, n int) []byte {
	var out []byte
	for body := range slices.Chunk(record[5:], n) {
		out = append(out, record[0], record[1], record[2], byte(len(body)>>8), byte(len(body)))
		out = append(out, body...)
	}
	return out
}

func TestAHelloInPieces(t *testing.T) {
	t.Parallel()
	want := Hello{ServerName: "app.example.com", Protocols: []string{"h2", "http/1.1"}}
	record := helloBytes(t, &tls.Config{ServerName: want.ServerName, NextProtos: want.Protocols})
	if len(record) < 1400 {
		t.Logf("a hello of %d bytes", len(record)) // with ML-KEM it exceeds one segment
	}
	for name, c := range map[string]struct {
		wire  []byte
		piece int
	}{
		"whole":          {record, len(record)},
		"byte by byte":   {record, 1},
		"two segments":   {record, 700},
		"many records":   {refragment(record, 100), 64},
		"data behind it": {append(slices.Clone(record), "behind"...), 4096},
		"tiny records":   {refragment(record, 1), 4096},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := net.Pipe()
			peeked := make(chan struct{})
			go func() {
				defer client.Close()
				for piece := range slices.Chunk(c.wire, c.piece) {
					if _, err := client.Write(piece); err != nil {
						return
					}
				}
				<-peeked // a closed pipe, unlike a socket, takes no deadline
			}()
			got, conn, err := Peek(t.Context(), server)
			close(peeked)
			if err != nil || got.ServerName != want.ServerName || !slices.Equal(got.Protocols, want.Protocols) {
				t.Fatalf("%+v, %v", got, err)
			}
			again, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(again, c.wire) {
				t.Errorf("%d of %d bytes are read again, %v", len(again), len(c.wire), err)
			}
		})
	}
}

func TestWhatIsNoHello(t *testing.T) {
	t.Parallel()
	long := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}, bytes.Repeat([]byte{0}, 64<<10)...)
	for name, wire := range map[string][]byte{
		"nothing":  nil,
		"http":     []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"half":     helloBytes(t, &tls.Config{ServerName: "a.b"})[:100],
		"too long": long,
		"zeros":    make([]byte, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := net.Pipe()
			go func() {
				_, _ = client.Write(wire)
				_ = client.Close()
			}()
			if h, _, err := Peek(t.Context(), server); err == nil {
				t.Errorf("read as %+v", h)
			}
			_ = server.Close()
		})
	}
}

// stream is a connection whose other end has said everything already.
type stream struct {
	net.Conn
	io.Reader
}

func (s stream) Read(p []byte) (int, error)      { return s.Reader.Read(p) }
func (s stream) SetReadDeadline(time.Time) error { return nil }

func FuzzPeek(f *testing.F) {
	record := helloBytes(f, &tls.Config{ServerName: "app.example.com", NextProtos: []string{"h2", "dialback-proxy/1"}})
	f.Add(record)
	f.Add(refragment(record, 10))
	f.Add(helloBytes(f, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})) // #nosec G402 -- no connection is made
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		h, conn, err := Peek(context.Background(), stream{Reader: bytes.NewReader(wire)})
		again, readErr := io.ReadAll(conn)
		if readErr != nil || !bytes.Equal(again, wire) && err == nil {
			t.Fatalf("%d of %d bytes are read again, %v", len(again), len(wire), readErr)
		}
		if err != nil && (h.ServerName != "" || h.Protocols != nil) {
			t.Fatalf("%+v with %v", h, err)
		}
		if strings.HasSuffix(h.ServerName, ".") {
			t.Fatalf("server name %q", h.ServerName)
		}
		if errors.Is(err, errPeeked) {
			t.Fatal(err)
		}
	})
}
