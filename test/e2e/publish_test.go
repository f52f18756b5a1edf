package e2e

import (
	"net/url"
	"testing"

	"github.com/dialback/dialback/test/e2e/harness"
)

// site is a local service behind a tunnel, and how a visitor with curl gets
// there, over http and over https.
type site struct {
	server      *harness.Server
	agent       *harness.Agent
	host        string
	http, https string
	// args make curl resolve the name and trust the certificate.
	args []string
}

// publish starts a server with a certificate of its own and an agent in front
// of the service at local.
func publish(t *testing.T, local string, agentArgs ...string) *site {
	t.Helper()
	const name = "site"
	cert := harness.NewCertificate(t, name+".localhost")
	server := harness.StartServer(t, nil, "--tls-cert", cert.Cert, "--tls-key", cert.Key)
	agent := server.Agent(append([]string{local, "--subdomain", name}, agentArgs...)...)
	u, err := url.Parse(agent.URL())
	if err != nil {
		t.Fatal(err)
	}
	host := u.Hostname()
	httpAddr, httpsAddr := host+":"+harness.Port(server.HTTP), host+":"+harness.Port(server.TLS)
	return &site{
		server: server, agent: agent, host: host, http: "http://" + httpAddr, https: "https://" + httpsAddr,
		args: []string{"--cacert", cert.CA, "--resolve", httpAddr + ":127.0.0.1", "--resolve", httpsAddr + ":127.0.0.1"},
	}
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
