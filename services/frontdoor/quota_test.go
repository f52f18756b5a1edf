package frontdoor_test

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/dialback/dialback/internal/testkit"
)

// bounded makes tunnels of an account that may have so many visitors at once.
func (w *world) bounded(most uint32, upstream string, names ...string) {
	w.t.Helper()
	c := w.connector("c1")
	for _, name := range names {
		a := w.agent(upstream)
		w.attach(c, a, name)
		claim := claimChange(a, name, nil)
		claim.GetClaim().MaxConnections = most
		w.registry.put(claim, attachChange(name, c.id, "session-"+a.id))
	}
}

// All endpoints of an account share its quota, and others have nothing to do with it.
func TestAnAccountsVisitorsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	finish := make(chan struct{})
	var arrived sync.WaitGroup
	arrived.Add(2)
	slow := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived.Done()
			<-finish
		}
	})
	w.bounded(2, slow, "a."+domain, "b."+domain)
	var under sync.WaitGroup
	for _, host := range []string{"a", "b"} {
		under.Go(func() { get(t, w.client(), "http://"+host+"."+domain+"/slow") })
	}
	arrived.Wait()
	for _, host := range []string{"a", "b"} {
		res, _ := get(t, w.client(), "http://"+host+"."+domain+"/")
		if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Dialback-Error") != "QUOTA_EXCEEDED" || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s %v", host, res.Status, res.Header)
		}
	}
	close(finish)
	under.Wait()
	testkit.Eventually(t, limit, func() bool {
		res, _ := get(t, w.client(), "http://a."+domain+"/")
		return res.StatusCode == http.StatusOK
	}, "there is room again")
}

func TestAnAccountsVisitorsOfAPortAreBounded(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, tcpService(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "in")
		parrot(c)
	}), nil)
	claim := tcpClaim(w.agent)
	claim.GetClaim().MaxConnections = 1
	w.registry.put(claim, attachChange(tcpName, "c1", "session-"+w.agent.id))
	testkit.Eventually(t, limit, w.listens, "the port is open")
	first := w.visit()
	hear(t, first, "in")
	w.turnedAway()
	fatal(t, first.CloseWrite())
	hear(t, first, "")
	testkit.Eventually(t, limit, func() bool {
		c, err := net.Dial("tcp", w.address)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = io.ReadFull(c, make([]byte, 2))
		return err == nil
	}, "there is room again")
}
