package grpcapi

import (
	"cmp"
	"context"
	"encoding/base64"
	"strconv"

	"go.opentelemetry.io/otel/trace"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/services/registry/internal/directory"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// userOf returns the user behind an external call.
func userOf(ctx context.Context) directory.Caller {
	by := directory.Caller{Principal: principal.From(ctx), Address: rpc.ClientAddress(ctx)}
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		by.Trace = sc.TraceID().String()
	}
	return by
}

func pageSize(asked int32) int {
	return min(cmp.Or(int(asked), defaultPage), maxPage)
}

// A page token is the last name of the page before. It is not readable, so that
// nobody takes it for more than it is.
func pageToken(last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(last))
}

func parsePageToken(token string) (string, error) {
	last, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", check(fault{"page_token", "want one of an earlier answer"})
	}
	return string(last), nil
}

// An etag is a record's version.
func etag(v directory.Version) string { return strconv.FormatInt(int64(v), 36) }

func parseEtag(s string) (directory.Version, error) {
	if s == "" {
		return 0, nil
	}
	v, err := strconv.ParseInt(s, 36, 64)
	if err != nil || v <= 0 {
		return 0, directory.ErrEtag // whatever it is, it is not the current one
	}
	return directory.Version(v), nil
}
