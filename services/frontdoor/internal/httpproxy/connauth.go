package httpproxy

import (
	"net/http"
	"strings"
)

// authenticatesConnection holds for schemes that identify a TCP connection, not
// a request: whoever comes next on it would be taken for this visitor.
func authenticatesConnection(values []string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			scheme, _, _ := strings.Cut(strings.TrimSpace(part), " ")
			if strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate") {
				return true
			}
		}
	}
	return false
}

func challenges(header http.Header) bool {
	return authenticatesConnection(header["Www-Authenticate"]) || authenticatesConnection(header["Proxy-Authenticate"])
}
