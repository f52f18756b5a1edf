package httpproxy

import (
	"net/http"

	"github.com/dialback/dialback/internal/errs"
)

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	reason errs.Reason // of an answer of our own
	cause  error
}

func (w *recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap gives http.ResponseController what lies below.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// below is what w writes to.
func below(w http.ResponseWriter) http.ResponseWriter {
	for {
		layer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = layer.Unwrap()
	}
}
