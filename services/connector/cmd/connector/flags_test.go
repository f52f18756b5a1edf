package main

import (
	"strings"
	"testing"
	"time"

	"github.com/dialback/dialback/internal/config"
)

func parse(t *testing.T, args ...string) (*flags, error) {
	t.Helper()
	f := &flags{}
	required := []string{
		"--domain=example.com", "--address=c1:7403", "--agent-cert=a.crt", "--agent-key=a.key",
		"--auth=dns:///auth:7401", "--registry=dns:///registry:7402", "--cert=c.crt", "--key=c.key", "--ca=ca.crt",
	}
	_, err := config.Parse(f, append(required, args...), config.Options{Name: "connector", EnvPrefix: "DIALBACK_TEST_"})
	return f, err
}

func TestFlagsBecomeAConfig(t *testing.T) {
	t.Parallel()
	f, err := parse(t, "--public-http-port=0", "--public-https-port=8443", "--ping-interval=5s",
		"--proxy-ca-pin=sha256:"+strings.Repeat("ab", 32), "--agent-address=c1.example.com:7443")
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.config("c1")
	if err != nil {
		t.Fatal(err)
	}
	if f.RelayListen != "" || c.RelayAddress != "" {
		t.Errorf("relays that nobody has asked for: %+v", c)
	}
	if c.NodeName != "c1" || c.PublicHTTPPort != 0 || c.PublicHTTPSPort != 8443 || c.PingInterval != 5*time.Second ||
		len(c.ProxyCAPins) != 1 || len(c.AgentAddresses) != 1 || c.MaxSessions != 15000 {
		t.Errorf("%+v", c)
	}
}

func TestAWrongPinIsNamed(t *testing.T) {
	t.Parallel()
	f, err := parse(t, "--proxy-ca-pin=nonsense")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.config("c1"); err == nil || !strings.Contains(err.Error(), "--proxy-ca-pin") {
		t.Errorf("got %v", err)
	}
}

func TestARelayListenerNeedsItsAddress(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"":             {"--relay-listen=:7444", "--relay-address=c1:7444", "--relay-from=10.0.0.0/24", "--relay-from=fd00::/8"},
		"both":         {"--relay-listen=:7444", "--relay-from=10.0.0.0/24"},
		"from network": {"--relay-listen=:7444", "--relay-address=c1:7444"},
	} {
		f, err := parse(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.config("c1")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
