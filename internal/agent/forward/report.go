package forward

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// quiet is how long repetitions of a failure are only counted.
const quiet = 10 * time.Second

// Report tells the agent's owner about a local service.
type Report struct {
	Upstream Upstream
	// Code of the failure; CODE_OK: the service answers again.
	Code proxyv1.Code
	// Cause in words, for the owner alone: it names private addresses.
	Cause string
	// Repeated is how often the same failed since the last report.
	Repeated int
}

// reporter does not report once a visitor: a service that is down would fill the
// owner's screen.
type reporter struct {
	tell func(Report)

	mu   sync.Mutex
	down map[string]*outage
}

type outage struct {
	code     proxyv1.Code
	reported time.Time
	repeated int
}

func newReporter(tell func(Report)) *reporter {
	return &reporter{tell: tell, down: map[string]*outage{}}
}

func (r *reporter) failed(up Upstream, code proxyv1.Code, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.down[up.Address]
	if o != nil && o.code == code && time.Since(o.reported) < quiet {
		o.repeated++
		return
	}
	report := Report{Upstream: up, Code: code, Cause: explain(cause)}
	if o != nil && o.code == code {
		report.Repeated = o.repeated
	}
	r.down[up.Address] = &outage{code: code, reported: time.Now()}
	r.tell(report)
}

func (r *reporter) worked(up Upstream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.down[up.Address]
	if o == nil {
		return
	}
	delete(r.down, up.Address)
	r.tell(Report{Upstream: up, Code: proxyv1.Code_CODE_OK, Repeated: o.repeated})
}

// explain leaves out what the report says anyway.
func explain(err error) string {
	var timeout net.Error
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: is the service running?"
	case errors.As(err, &dns):
		return dns.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no connection within " + dialTimeout.String()
	default:
		return err.Error()
	}
}
