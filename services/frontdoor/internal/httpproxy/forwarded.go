package httpproxy

import (
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
)

// Networks are those whose word about a visitor is believed.
type Networks []netip.Prefix

// Contain holds if the address, with or without port, is in one of them.
func (n Networks) Contain(address string) bool {
	ip, ok := parseIP(address)
	if !ok {
		return false
	}
	for _, prefix := range n {
		if prefix.Contains(ip) {
			return true
		}
	}
	return false
}

func parseIP(address string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	ip, err := netip.ParseAddr(address)
	return ip.Unmap(), err == nil
}

// removeOwn removes headers that only Dialback may speak through.
func removeOwn(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "Dialback-") {
			delete(h, name)
		}
	}
}

// removeForwarded removes what a client says about where it comes from, in all
// spellings that services take for the same name.
func removeForwarded(h http.Header) {
	for name := range h {
		canonical := textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if strings.HasPrefix(canonical, "X-Forwarded-") || canonical == "Forwarded" || canonical == "X-Real-Ip" {
			delete(h, name)
		}
	}
}

// setForwarded tells the service who its visitor is. out has what a trusted
// proxy in front of us said before, or nothing.
func setForwarded(out http.Header, in *http.Request) {
	ip := "unknown"
	if addr, ok := parseIP(in.RemoteAddr); ok {
		ip = addr.WithZone("").String()
		out.Set("X-Forwarded-For", joined(out, "X-Forwarded-For", ip))
	}
	scheme := schemeOf(in)
	setIfAbsent(out, "X-Forwarded-Proto", scheme)
	setIfAbsent(out, "X-Forwarded-Host", in.Host)
	setIfAbsent(out, "X-Forwarded-Port", portOf(in.Host, scheme))
	node := ip
	if strings.Contains(ip, ":") {
		node = `"[` + ip + `]"`
	}
	out.Set("Forwarded", joined(out, "Forwarded", "for="+node+";host="+quoted(in.Host)+";proto="+scheme))
}

func joined(h http.Header, name, value string) string {
	return strings.Join(append(h.Values(name), value), ", ")
}

func setIfAbsent(h http.Header, name, value string) {
	if h.Get(name) == "" {
		h.Set(name, value)
	}
}

// quoted writes a host as a quoted string where a token cannot hold it. A host
// that was parsed has no quotes or backslashes.
func quoted(host string) string {
	if strings.ContainsAny(host, ":[]") {
		return `"` + host + `"`
	}
	return host
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func portOf(host, scheme string) string {
	if _, port, err := net.SplitHostPort(host); err == nil && port != "" {
		return port
	}
	if scheme == "https" {
		return "443"
	}
	return "80"
}

func publicURL(r *http.Request) string { return schemeOf(r) + "://" + r.Host }
