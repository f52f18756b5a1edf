package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
)

// ifMatch puts the etag of an If-Match header where the services look for it: into
// the resource of an update, into the query of a deletion. An etag that the request
// says there stays.
func ifMatch(r *http.Request, body []byte) []byte {
	etag := strings.Trim(r.Header.Get("If-Match"), `"`)
	if etag == "" {
		return body
	}
	switch r.Method {
	case http.MethodDelete:
		if query := r.URL.Query(); !query.Has("etag") {
			query.Set("etag", etag)
			r.URL.RawQuery = query.Encode()
		}
	case http.MethodPatch:
		var resource map[string]json.RawMessage
		if json.Unmarshal(body, &resource) != nil || resource == nil || resource["etag"] != nil {
			return body // what is wrong with it is said by who reads it
		}
		resource["etag"], _ = json.Marshal(etag) // a text
		if with, err := json.Marshal(resource); err == nil {
			return with
		}
	}
	return body
}
