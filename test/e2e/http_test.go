package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dialback/dialback/test/e2e/harness"
)

const (
	kib = 1 << 10
	gib = 1 << 30
)

func TestNginxBehindNAT(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		nginx := harness.StartNginx(t)
		s := publish(t, d, nginx.Addr)
		small := nginx.WriteRandom(t, "1k", kib, 1)
		text := harness.WriteFile(t, "text", strings.Repeat("all work and no play\n", 5000))
		if err := os.WriteFile(filepath.Join(nginx.Root, "text.txt"), harness.ReadFile(t, text), 0o644); err != nil { // #nosec G306 -- nginx's worker reads it
			t.Fatal(err)
		}
		const codeAndSize = "%{http_code} %{size_download}"

		for name, w := range s.ways() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				expect := func(what, want string, args ...string) {
					t.Helper()
					if got := s.curl(t, append([]string{w.version}, args...)...); got != want {
						t.Errorf("%s: %q, want %q", what, got, want)
					}
				}
				fetched := func(path string, args ...string) string {
					t.Helper()
					file := filepath.Join(t.TempDir(), "got")
					s.curl(t, append([]string{w.version, "-o", file, w.base + path}, args...)...)
					return harness.Sum(t, file)
				}
				if got := fetched("/1k"); got != small {
					t.Errorf("1 KiB: %s, want %s", got, small)
				}
				if got, want := fetched("/text.txt", "--compressed"), harness.Sum(t, text); got != want {
					t.Errorf("a chunked reply: %s, want %s", got, want)
				}
				expect("204", "204 0", "-w", codeAndSize, w.base+"/empty")
				expect("an empty reply", "200 0", "-w", codeAndSize, w.base+"/length0")
				expect("a range", "206 200", "-w", codeAndSize, "-o", os.DevNull, "-r", "100-299", w.base+"/1k")

				head := s.curl(t, w.version, "-I", w.base+"/1k")
				etag := regexp.MustCompile(`(?i)etag: (\S+)`).FindStringSubmatch(head)
				if etag == nil || !regexp.MustCompile(`(?i)content-length: 1024`).MatchString(head) {
					t.Fatalf("HEAD: %s", head)
				}
				expect("If-None-Match", "304 0", "-w", codeAndSize, "-H", "If-None-Match: "+etag[1], w.base+"/1k")

				// From a pipe curl knows no length: chunked in HTTP/1.1.
				upload := "/put/" + name
				if got := harness.CurlFrom(t, text, append(s.args, w.version, "-w", "%{http_code}", "-T", "-", w.base+upload)...); got != "201" {
					t.Errorf("a chunked upload: status %s", got)
				}
				if got, want := harness.Sum(t, nginx.Root+upload), harness.Sum(t, text); got != want {
					t.Errorf("a chunked upload: %s, want %s", got, want)
				}

				expect("10,000 bytes of header", "200", "-w", "%{http_code}", "-o", os.DevNull, "-H", "X-Big: "+strings.Repeat("x", 10_000), w.base+"/headers")
				// Not far above it: a client that goes on and on loses its HTTP/2
				// connection, and gets no answer.
				above, size := []string{"-w", "%{http_code}", "-o", os.DevNull, w.base + "/headers"}, 4_500
				if w.version == "--http2" {
					size = 3_830
				}
				for range 9 {
					above = append(above, "-H", "X-Big: "+strings.Repeat("x", size))
				}
				expect("headers above the cap", "431", above...)
			})
		}
	})
}

func TestOneGiBBothWays(t *testing.T) {
	t.Parallel()
	nginx := harness.StartNginx(t)
	s := publish(t, harness.Standalone(t).Deployment, nginx.Addr)
	sum := nginx.WriteRandom(t, "1g", gib, 2)
	ways := s.ways()
	delete(ways, "https1")
	for name, w := range ways {
		// One after the other: two at once only compete for the same two cores.
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "got")
			s.curl(t, w.version, "-o", file, w.base+"/1g")
			if got := harness.Sum(t, file); got != sum {
				t.Errorf("download: %s, want %s", got, sum)
			}
			if code := s.curl(t, w.version, "-w", "%{http_code}", "-T", file, w.base+"/put/"+name); code != "201" {
				t.Fatalf("upload: status %s", code)
			}
			if got := harness.Sum(t, filepath.Join(nginx.Root, "put", name)); got != sum {
				t.Errorf("upload: %s, want %s", got, sum)
			}
		})
	}
}

func TestManyKeepAliveConnections(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		nginx := harness.StartNginx(t)
		s := publish(t, d, nginx.Addr)
		nginx.WriteRandom(t, "1k", kib, 1)
		code, out := harness.Run(t, nil, "wrk", "-t1", "-c256", "-d20s", "--timeout", "30s", "-H", "Host: "+s.host, "http://"+s.HTTP+"/1k")
		t.Log(out)
		if code != 0 || !strings.Contains(out, "requests in") {
			t.Fatalf("wrk: exit %d", code)
		}
		for _, bad := range []string{"Non-2xx", "Socket errors"} {
			if strings.Contains(out, bad) {
				t.Errorf("%s", bad)
			}
		}
	})
}
