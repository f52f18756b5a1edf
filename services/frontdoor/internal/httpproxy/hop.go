package httpproxy

import (
	"net/http"
	"net/textproto"
	"strings"
)

// forwardable returns the fields that are for the end, not for the next hop (RFC
// 9110, 7.6.1), with room for some more. Values are shared with h, each without
// room to grow.
func forwardable(h http.Header, more int) http.Header {
	out := make(http.Header, len(h)+more)
	for name, values := range h {
		if !forOneHop(name) {
			out[name] = values[:len(values):len(values)]
		}
	}
	removeListed(out, h["Connection"])
	return out
}

// removeHop is forwardable in place.
func removeHop(h http.Header) {
	listed := h["Connection"]
	for name := range h {
		if forOneHop(name) {
			delete(h, name)
		}
	}
	removeListed(h, listed)
}

// removeListed removes the fields that Connection names.
func removeListed(h http.Header, connection []string) {
	for _, value := range connection {
		for name := range strings.SplitSeq(value, ",") {
			if name = textproto.TrimString(name); name != "" {
				delete(h, textproto.CanonicalMIMEHeaderKey(name))
			}
		}
	}
}

// forOneHop holds for fields that are never forwarded, whether or not Connection
// names them. Trailer is written anew.
func forOneHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// upgradeOf is the protocol that a message asks or agrees to switch to, if any.
func upgradeOf(h http.Header) string {
	if !hasToken(h["Connection"], "upgrade") {
		return ""
	}
	return h.Get("Upgrade")
}

// hasToken looks for a word in a list of comma-separated ones.
func hasToken(values []string, token string) bool {
	for _, value := range values {
		for word := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(textproto.TrimString(word), token) {
				return true
			}
		}
	}
	return false
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
