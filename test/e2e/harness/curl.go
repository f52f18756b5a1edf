package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Curl runs curl, silent but for errors, and returns its output. The test fails
// unless curl exits 0.
func Curl(t testing.TB, args ...string) string {
	t.Helper()
	return CurlFrom(t, os.DevNull, args...)
}

// CurlFrom is Curl with a file as its standard input.
func CurlFrom(t testing.TB, file string, args ...string) string {
	t.Helper()
	in, err := os.Open(file) // #nosec G304 -- a test's own file
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var stderr strings.Builder
	cmd := exec.Command("curl", append([]string{"-sS", "--max-time", "300"}, args...)...)
	cmd.Stdin, cmd.Stderr = in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl %s: %v\n%s%s", tail(strings.Join(args, " "), 1<<10), err, tail(string(out), 4<<10), tail(stderr.String(), 1<<10))
	}
	return string(out)
}

// ReadFile returns a file's bytes.
func ReadFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path) // #nosec G304 -- a test's own file
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Certificate is a server certificate in files, and the authority's.
type Certificate struct{ Cert, Key, CA string }

// NewCertificate makes an authority and a certificate for names with openssl.
func NewCertificate(t testing.TB, names ...string) Certificate {
	t.Helper()
	dir := t.TempDir()
	c := Certificate{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "tls.crt")}
	san := "subjectAltName=DNS:" + strings.Join(names, ",DNS:")
	code, out := Run(t, nil, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-days", "2", "-subj", "/CN="+names[0], "-addext", san, "-keyout", c.Key, "-out", c.Cert)
	if code != 0 {
		t.Fatalf("openssl: exit %d\n%s", code, out)
	}
	return c
}
