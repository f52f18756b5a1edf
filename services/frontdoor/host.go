package frontdoor

import (
	"net/http"

	"github.com/dialback/dialback/internal/hostname"
)

// byHost sends requests for the system's own name to REST, by TLS alone, for they
// carry keys. It comes before all names that a tenant could have.
func byHost(api string, rest, visitors http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, err := hostname.FromHostHeader(r.Host); err == nil && name == api && r.TLS != nil {
			rest.ServeHTTP(w, r)
			return
		}
		visitors.ServeHTTP(w, r)
	})
}
