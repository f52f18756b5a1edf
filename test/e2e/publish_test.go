package e2e

import (
	"testing"

	"github.com/dialback/dialback/test/e2e/harness"
)

// everywhere runs a test on dialbackd, and on the cluster that tests share.
func everywhere(t *testing.T, test func(t *testing.T, d *harness.Deployment)) {
	t.Helper()
	t.Parallel()
	t.Run("standalone", func(t *testing.T) {
		t.Parallel()
		test(t, harness.Standalone(t).Deployment)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		test(t, harness.OnCluster(t))
	})
}

// site is a local service behind a tunnel, and how a visitor with curl gets
// there, over http and over https.
type site struct {
	*harness.Deployment
	host        string
	http, https string
	// args make curl resolve the name and trust the certificate.
	args []string
}

// publish starts an agent in front of the service at local, under a name of its
// own.
func publish(t *testing.T, d *harness.Deployment, local string) *site {
	t.Helper()
	name := d.Name()
	host := d.Agent(local, "--subdomain", name).WaitLog(`https?://(` + name + `\.localhost)\b`)
	s := &site{Deployment: d, host: host, args: []string{"--cacert", d.CA}}
	s.https = "https://" + s.resolve(d.TLS)
	if d.HTTP != "" {
		s.http = "http://" + s.resolve(d.HTTP)
	}
	return s
}

// resolve makes curl find the site at an address's port, and returns its name
// with that port.
func (s *site) resolve(addr string) string {
	name := s.host + ":" + harness.Port(addr)
	s.args = append(s.args, "--resolve", name+":127.0.0.1")
	return name
}

func (s *site) curl(t *testing.T, args ...string) string {
	t.Helper()
	return harness.Curl(t, append(append([]string(nil), s.args...), args...)...)
}

// way is one way for a visitor's client to talk to the site.
type way struct {
	base string
	// version is curl's option.
	version string
}

// ways are HTTP/1.1 in clear text, HTTP/1.1 and HTTP/2 over TLS.
func (s *site) ways() map[string]way {
	return map[string]way{
		"http1":  {s.http, "--http1.1"},
		"https1": {s.https, "--http1.1"},
		"https2": {s.https, "--http2"},
	}
}
