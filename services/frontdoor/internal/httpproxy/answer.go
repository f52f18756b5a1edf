package httpproxy

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// writeAnswer passes an answer on. Where it breaks off the visitor is told by
// http.ErrAbortHandler, for its status has gone out.
func (c *carriedCall) writeAnswer(res *http.Response) {
	defer res.Body.Close()
	removeHop(res.Header)
	header := c.takeFields(res.Header)
	announced := len(res.Trailer)
	if announced > 0 {
		header["Trailer"] = []string{strings.Join(slices.Sorted(maps.Keys(res.Trailer)), ", ")}
	}
	c.w.WriteHeader(res.StatusCode)
	if _, err := pour(c.w, nil, res.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	if len(res.Trailer) > 0 {
		c.flush() // or the server would count a short body and leave no room for trailers
	}
	if len(res.Trailer) == announced {
		addFields(header, res.Trailer)
		return
	}
	for name, values := range res.Trailer { // some of them were not announced
		header[http.TrailerPrefix+name] = values
	}
}

// takeFields adds an answer's fields to ours, and returns the header that has both.
// Where the visitor's side allows it the answer's is taken as it is: a second map of
// the same is a tenth of what a short answer costs.
func (c *carriedCall) takeFields(fields http.Header) http.Header {
	header := c.w.Header()
	if to, ok := below(c.w).(interface{ TakeHeader(header http.Header) }); ok {
		addFields(fields, header)
		to.TakeHeader(fields)
		return fields
	}
	addFields(header, fields)
	return header
}

// addFields adds values to those that are there.
func addFields(dst, src http.Header) {
	for name, values := range src {
		if own := dst[name]; len(own) > 0 {
			values = append(own[:len(own):len(own)], values...)
		}
		dst[name] = values
	}
}

// informational passes a 1xx answer on. What stands in the header for the final
// answer already stays there.
func (c *carriedCall) informational(res *http.Response) {
	removeHop(res.Header)
	header := c.w.Header()
	own := maps.Clone(header)
	clear(header)
	maps.Copy(header, res.Header)
	c.w.WriteHeader(res.StatusCode)
	clear(header)
	maps.Copy(header, own)
}
