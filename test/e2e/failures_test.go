package e2e

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/dialback/dialback/test/e2e/harness"
)

func TestRefusedCredentials(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		id, revoked, pin := d.Token()
		d.Ctl("token", "revoke", id)
		_, valid, _ := d.Token()
		wrong := valid[:len(valid)-4] + "aaaa"
		otherPin := "sha256:" + hex.EncodeToString(random(t, 32))
		local := answer(t, "x")

		for name, c := range map[string]struct {
			env  []string
			exit int
			says []string
		}{
			"a wrong token":   {[]string{"DIALBACK_AUTHTOKEN=" + wrong, "DIALBACK_CA_PIN=" + pin}, 3, []string{"token", "dialback config add-server"}},
			"a revoked token": {[]string{"DIALBACK_AUTHTOKEN=" + revoked, "DIALBACK_CA_PIN=" + pin}, 3, []string{"revoked", "dialback config add-server"}},
			"no token":        {[]string{"DIALBACK_CA_PIN=" + pin}, 2, []string{"token"}},
			"a wrong pin":     {[]string{"DIALBACK_AUTHTOKEN=" + valid, "DIALBACK_CA_PIN=" + otherPin}, 2, []string{pin, otherPin}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				env := append(harness.Home(t.TempDir()), "DIALBACK_SERVER="+d.AgentAddr())
				code, out := harness.Run(t, append(env, c.env...), harness.Bin("dialback"), "http", local)
				if code != c.exit {
					t.Errorf("exit %d, want %d", code, c.exit)
				}
				for _, want := range c.says {
					if !strings.Contains(out, want) {
						t.Errorf("does not say %q:\n%s", want, out)
					}
				}
				for _, secret := range []string{wrong, revoked, valid} {
					if strings.Contains(out, secret) {
						t.Error("prints a token")
					}
				}
			})
		}
		if log := d.Logs(); strings.Contains(log, wrong) || strings.Contains(log, revoked) || strings.Contains(log, valid) {
			t.Error("the server's log has a token")
		}
	})
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// refusing returns an address that nobody listens on and that nobody else gets.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// What a visitor gets when the local service fails, and who is told what: the
// page names the leg and never the address, the agent's owner sees the address.
func TestALocalServiceThatFails(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		for name, c := range map[string]struct {
			local  string
			status int
			code   string
		}{
			"is down": {refusing(t), http.StatusBadGateway, "UPSTREAM_REFUSED"},
			"resets": {serveRaw(t, func(c net.Conn) {
				_, _ = bufio.NewReader(c).ReadString('\n')
				_ = c.(*net.TCPConn).SetLinger(0)
			}), http.StatusBadGateway, "UPSTREAM_BAD_REPLY"},
			"answers garbage": {serveRaw(t, func(c net.Conn) {
				_, _ = bufio.NewReader(c).ReadString('\n')
				_, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n\r\n"))
			}), http.StatusBadGateway, "UPSTREAM_BAD_REPLY"},
			"closes at once": {serveRaw(t, func(net.Conn) {}), http.StatusBadGateway, "UPSTREAM_BAD_REPLY"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				agent := d.Agent(c.local)
				url := agent.URL()
				status, page, code := get(t, d, url)
				if status != c.status || code != c.code {
					t.Errorf("%d %s, want %d %s", status, code, c.status, c.code)
				}
				if !strings.Contains(page, c.code) {
					t.Errorf("the page does not say %s:\n%s", c.code, page)
				}
				if strings.Contains(page, "127.0.0.1") || strings.Contains(page, harness.Port(c.local)) {
					t.Errorf("the page shows the local address:\n%s", page)
				}
				if c.code == "UPSTREAM_REFUSED" {
					agent.WaitLog(strings.ReplaceAll(c.local, ".", `\.`) + ".*refused")
				}
				d.WaitLogs(strings.TrimPrefix(url, "http://"), c.code)
			})
		}
	})
}

func TestALocalServiceThatNeverAnswers(t *testing.T) {
	t.Parallel()
	server := harness.StartServer(t, nil, "--upstream-timeout", "3s")
	url := server.Agent(serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })).URL()
	if status, page, code := get(t, server.Deployment, url); status != http.StatusGatewayTimeout || code != "UPSTREAM_TIMEOUT" {
		t.Errorf("%d %s:\n%s", status, code, page)
	}
}

func TestAWrongHostAndAnAgentThatIsAway(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		if status, page, code := get(t, d, "http://nobody.localhost"); status != http.StatusNotFound || code != "ENDPOINT_NOT_FOUND" || !strings.Contains(page, code) {
			t.Errorf("no such endpoint: %d %s\n%s", status, code, page)
		}
		agent := d.Agent(answer(t, "x"))
		url := agent.URL()
		agent.Kill()
		harness.Eventually(t, "a dead agent's endpoint does not say so", func() bool {
			status, _, code := get(t, d, url)
			return status == http.StatusServiceUnavailable && code == "AGENT_OFFLINE"
		})
		for _, accept := range []string{"text/html", "application/json"} {
			page := harness.Curl(t, "-i", "-H", "Accept: "+accept, "-H", "Host: nobody.localhost", "http://"+d.HTTP+"/<script>?<script>")
			if !strings.Contains(page, "Content-Type: "+accept) || !strings.Contains(page, "ENDPOINT_NOT_FOUND") || strings.Contains(page, "<script>") {
				t.Errorf("%s:\n%s", accept, page)
			}
		}
	})
}

func TestARevokedTokenEndsWhatLivesByIt(t *testing.T) {
	everywhere(t, func(t *testing.T, d *harness.Deployment) {
		handler := http.NewServeMux()
		handler.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer c.CloseNow()
			_, _, _ = c.Read(r.Context())
		})
		handler.HandleFunc("/download", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1024)); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				pause(t, harness.Limit/6000)
			}
		})
		local := httptest.NewServer(handler)
		t.Cleanup(local.Close)

		id, token, pin := d.Token()
		env := append(harness.Home(t.TempDir()), "DIALBACK_SERVER="+d.AgentAddr(), "DIALBACK_AUTHTOKEN="+token, "DIALBACK_CA_PIN="+pin)
		agent := harness.StartAgent(t, env, "http", local.Listener.Addr().String())
		host := strings.TrimPrefix(agent.URL(), "http://")

		ctx := within(t)
		socket, _, err := websocket.Dial(ctx, "ws://"+d.HTTP+"/socket", &websocket.DialOptions{Host: host})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.CloseNow()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.HTTP+"/download", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		download, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer download.Body.Close()
		if _, err := download.Body.Read(make([]byte, 512)); err != nil {
			t.Fatal(err)
		}

		d.Ctl("token", "revoke", id)
		if _, _, err := socket.Read(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("the WebSocket lives: %v", err)
		}
		for err == nil {
			_, err = download.Body.Read(make([]byte, 32<<10))
		}
		if ctx.Err() != nil {
			t.Error("the download lives")
		}
		if code := agent.Wait(); code != 3 {
			t.Errorf("the agent: exit %d, want 3", code)
		}
		if !strings.Contains(agent.Log(), "revoked") {
			t.Error("the agent does not say why")
		}
		t.Logf("the download ended with: %v", err)
	})
}
