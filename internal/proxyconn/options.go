package proxyconn

import "time"

const (
	// MaxEarly is how many bytes a frontdoor may send in an exchange before the
	// agent has answered its START. It is what can be replayed elsewhere.
	MaxEarly = 64 << 10

	maxRegProxy      = 4096
	registerTimeout  = 10 * time.Second
	minAckTimeout    = 500 * time.Millisecond
	maxRTT           = 2 * time.Second
	abortTimeout     = time.Second
	abortBudget      = 256 << 10
	writeCheckPeriod = time.Second
)

// Options are an end's limits. The zero value holds the protocol's defaults.
type Options struct {
	// AckTimeout is how long the frontdoor waits for the ACK of a START before
	// it takes the connection for dead. Default: what suits the round trips that
	// it has seen; see AckTimeout.
	AckTimeout time.Duration
	// RTT is what is known of the round trip when the frontdoor accepts; more is
	// better than less. Default 0: nothing is.
	RTT time.Duration
	// RegisterTimeout bounds the exchange of RegProxy. Default 10 s.
	RegisterTimeout time.Duration
	// AbortTimeout is how long an end waits for the answer to its RESET before
	// it closes the connection. Default 1 s.
	AbortTimeout time.Duration
}

// AckTimeout is the wait for an ACK that suits a round trip time.
func AckTimeout(rtt time.Duration) time.Duration { return max(minAckTimeout, 4*rtt) }

func (o Options) withDefaults() Options {
	if o.RegisterTimeout <= 0 {
		o.RegisterTimeout = registerTimeout
	}
	if o.AbortTimeout <= 0 {
		o.AbortTimeout = abortTimeout
	}
	return o
}
