package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Nginx is a running nginx as the local service. Root is what it serves, below
// /put/ it stores what is uploaded.
type Nginx struct {
	*Proc
	Addr string
	Root string
}

const nginxConf = `
daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 2048; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  keepalive_requests 1000000;
  large_client_header_buffers 8 64k;
  gzip on;
  gzip_types text/plain;
  server {
    listen %[2]s;
    root %[1]s/root;
    client_max_body_size 0;
    default_type text/plain;
    location = /empty { return 204; }
    location = /length0 { add_header X-Empty yes; return 200 ""; }
    location = /headers { add_header X-Got $http_x_big; return 200 "got it\n"; }
    location /put/ { dav_methods PUT; create_full_put_path on; client_body_temp_path %[1]s/root/put; }
  }
}
`

// StartNginx starts nginx on a free port of 127.0.0.1.
func StartNginx(t testing.TB) *Nginx {
	t.Helper()
	dir := t.TempDir()
	// nginx's worker runs as another user when the master is root.
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // #nosec G302 -- a test's own files
			t.Fatal(err)
		}
	}
	n := &Nginx{Addr: FreeAddr(t), Root: filepath.Join(dir, "root")}
	put := filepath.Join(n.Root, "put")
	if err := os.MkdirAll(put, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(put, 0o777); err != nil { // #nosec G302 -- as above
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, n.Addr), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Proc = Start(t, nil, "nginx", "-c", conf, "-p", dir)
	WaitListening(t, n.Addr)
	return n
}

// WriteRandom writes a file of size bytes, the same for the same seed, below
// root and returns its SHA-256.
func (n *Nginx) WriteRandom(t testing.TB, name string, size int64, seed byte) string {
	t.Helper()
	f, err := os.Create(filepath.Join(n.Root, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.NewChaCha8([32]byte{seed}), size); err != nil {
		t.Fatal(err)
	}
	if err := f.Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Sum returns a file's SHA-256.
func Sum(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path) // #nosec G304 -- a test's own file
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// FreeAddr returns an address of 127.0.0.1 that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// WaitListening waits until addr accepts connections.
func WaitListening(t testing.TB, addr string) {
	t.Helper()
	Eventually(t, "nobody listens on "+addr, func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// Eventually waits until cond holds.
func Eventually(t testing.TB, complaint string, cond func() bool) {
	t.Helper()
	for range Attempts(t, func() string { return complaint }) {
		if cond() {
			return
		}
	}
}

// Attempts yields now and again until Limit has passed; then it fails the test
// with the complaint.
func Attempts(t testing.TB, complaint func() string) iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		t.Helper()
		deadline := time.After(Limit)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for yield(struct{}{}) {
			select {
			case <-deadline:
				t.Fatal(complaint())
			case <-tick.C:
			}
		}
	}
}
