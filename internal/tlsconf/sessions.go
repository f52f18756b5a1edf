package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"slices"
)

// ErrNotResumed says that a server did not know the session that it was offered.
// The session is forgotten: the next connection makes a new one.
var ErrNotResumed = errors.New("the server has forgotten the TLS session")

// Sessions lets later connections to a server resume what the first one has
// agreed on. They cost a third: no certificate is sent, signed with or verified.
type Sessions struct{ cache tls.ClientSessionCache }

// NewSessions returns room for the sessions of so many servers.
func NewSessions(servers int) *Sessions {
	return &Sessions{tls.NewLRUClientSessionCache(servers)}
}

// PinnedClient is like the function of that name, with resumption where there is
// a session of the same server under the same pins. Then the handshake may fail
// with ErrNotResumed: it is to be repeated on a new connection.
//
// A resumed session's keys come from the first handshake's secret and an exchange
// of their own. So the first one alone pays for an exchange that withstands
// quantum computers, which costs as much as all the rest: who records the later
// ones has to break it as well. It is why a handshake that begins with the small
// exchange must not end as a full one.
func (s *Sessions) PinnedClient(serverName string, pins []Pin) *tls.Config {
	config := PinnedClient(serverName, pins)
	underPins := pinnedSessions{s.cache, sessionPrefix(pins)}
	config.ClientSessionCache = underPins
	_, offered := underPins.Get(serverName)
	if offered {
		config.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	verify := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		switch {
		case state.DidResume:
			// The chain was verified under these very pins when the session began,
			// and crypto/tls ends the session with the certificate.
			return nil
		case offered:
			return ErrNotResumed
		case verify != nil:
			return verify(state)
		}
		return nil // crypto/tls has verified it by the system's roots
	}
	return config
}

// pinnedSessions are the sessions that were made under one set of pins. Under
// others they do not exist: what was verified then proves nothing now.
type pinnedSessions struct {
	tls.ClientSessionCache
	prefix string
}

func sessionPrefix(pins []Pin) string {
	sorted := slices.SortedFunc(slices.Values(pins), func(a, b Pin) int { return slices.Compare(a[:], b[:]) })
	hash := sha256.New()
	for _, pin := range sorted {
		hash.Write(pin[:])
	}
	return string(hash.Sum(nil))
}

// Get implements tls.ClientSessionCache.
func (s pinnedSessions) Get(key string) (*tls.ClientSessionState, bool) {
	state, ok := s.ClientSessionCache.Get(s.prefix + key)
	return state, ok && state != nil
}

// Put implements tls.ClientSessionCache.
func (s pinnedSessions) Put(key string, state *tls.ClientSessionState) {
	s.ClientSessionCache.Put(s.prefix+key, state)
}
