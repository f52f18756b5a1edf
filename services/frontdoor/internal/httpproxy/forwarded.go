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
		if name == "" || !strings.ContainsRune("FfXx", rune(name[0])) {
			continue // most
		}
		canonical := textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if strings.HasPrefix(canonical, "X-Forwarded-") || canonical == "Forwarded" || canonical == "X-Real-Ip" {
			delete(h, name)
		}
	}
}

// setForwarded tells the service who its visitor is. out has what a trusted
// proxy in front of us said before, or nothing.
func setForwarded(out http.Header, in *http.Request) {
	var own [5]string // one allocation for all
	set := func(i int, name, value string) {
		own[i] = value
		out[name] = own[i : i+1 : i+1]
	}
	ip := "unknown"
	if addr, ok := parseIP(in.RemoteAddr); ok {
		ip = addr.WithZone("").String()
		set(0, "X-Forwarded-For", joined(out["X-Forwarded-For"], ip))
	}
	scheme := schemeOf(in)
	setIfAbsent := func(i int, name, value string) {
		if values := out[name]; len(values) == 0 || values[0] == "" {
			set(i, name, value)
		}
	}
	setIfAbsent(1, "X-Forwarded-Proto", scheme)
	setIfAbsent(2, "X-Forwarded-Host", in.Host)
	setIfAbsent(3, "X-Forwarded-Port", portOf(in.Host, scheme))
	node := ip
	if strings.Contains(ip, ":") {
		node = `"[` + ip + `]"`
	}
	set(4, "Forwarded", joined(out["Forwarded"], "for="+node+";host="+quoted(in.Host)+";proto="+scheme))
}

func joined(values []string, value string) string {
	if len(values) == 0 {
		return value
	}
	return strings.Join(append(values, value), ", ")
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
