package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"google.golang.org/grpc"

	frontdoorv1 "github.com/dialback/dialback/api/gen/dialback/frontdoor/v1"
	"github.com/dialback/dialback/bench/internal/process"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/tlsconf"
)

// Frontdoor is a process that follows the registry. It reaches no connector.
type Frontdoor struct {
	*process.Process
	frontdoorv1.InspectServiceClient

	debug string // URL
	conn  *grpc.ClientConn
}

// Frontdoor starts one, and waits until it has taken the registry's snapshot. A
// name is used once.
func (p *Plane) Frontdoor(ctx context.Context, name string) (*Frontdoor, error) {
	files, err := p.Credential(p.cfg.Dir, tlsconf.RoleFrontdoor, name)
	if err != nil {
		return nil, err
	}
	proxy, err := p.ca.Issue(tlsconf.Request{DNSNames: []string{"*.proxy." + Domain}, Server: true})
	if err != nil {
		return nil, err
	}
	proxyCert, proxyKey := filepath.Join(p.cfg.Dir, name+"-proxy.crt"), filepath.Join(p.cfg.Dir, name+"-proxy.key")
	if err := tlsconf.WritePair(proxy, proxyCert, proxyKey); err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	f := &Frontdoor{debug: "http://" + ports[1]}
	f.Process, err = process.Start(process.Local, process.Spec{
		Name: name, Path: filepath.Join(p.cfg.Bin, "frontdoor"), Env: os.Environ(),
		Args: append([]string{
			"--domain", Domain, "--listen", ports[0], "--address", ports[0], "--debug", ports[1], "--tls-listen", ports[2],
			"--proxy-cert", proxyCert, "--proxy-key", proxyKey, "--auth", "dns:///" + p.keys, "--registry", "dns:///" + p.Address,
			"--drain-delay", "0s",
		}, files...),
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.WaitLine(ctx, process.Contains(`"routes received"`)), p.inspect(f, ports[0])); err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

// inspect connects to the frontdoor as an administrator.
func (p *Plane) inspect(f *Frontdoor, address string) error {
	cert, err := p.issue(tlsconf.RoleAdmin, "bench")
	if err != nil {
		return err
	}
	f.conn, err = rpc.Dial(rpc.ClientConfig{Target: "dns:///" + address, TLS: tlsconf.ServiceClient(*cert, p.ca.Pool(), tlsconf.RoleFrontdoor)})
	if err != nil {
		return err
	}
	f.InspectServiceClient = frontdoorv1.NewInspectServiceClient(f.conn)
	return nil
}

// Heap returns how many bytes live in the frontdoor's heap: it collects its garbage first.
func (f *Frontdoor) Heap(ctx context.Context) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.debug+"/debug/pprof/heap?gc=1", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("profile of the heap: %s, %w", resp.Status, err)
	}
	s, err := Scrape(ctx, f.debug+"/metrics", "go_memstats_heap_alloc_bytes")
	return s.Sum, err
}

// Stop ends it. A nil Frontdoor is stopped.
func (f *Frontdoor) Stop() {
	if f == nil {
		return
	}
	if f.conn != nil {
		_ = f.conn.Close()
	}
	f.Process.Stop()
}
