// Package restclient calls Dialback's REST with the messages of api/proto.
package restclient

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/tlsconf"
)

// maxAnswer bounds an answer, and one line of a stream, in bytes.
const maxAnswer = 64 << 20

var (
	// ErrUnreachable says that nobody has answered, or nobody who speaks REST.
	ErrUnreachable = errs.New(errs.Unavailable, errs.ReasonUnavailable, "the server cannot be reached")
	// read lets answers of newer servers have fields that are not known here.
	read  = protojson.UnmarshalOptions{DiscardUnknown: true}
	write = protojson.MarshalOptions{UseProtoNames: true}
)

// Config says where REST is and who calls.
type Config struct {
	// Server is the base URL.
	Server string
	// Key is an API key; empty: none.
	Key secret.String
	// CAFile names the certificates that the server's is checked with; empty: the
	// system's.
	CAFile string
}

// Client calls one server.
type Client struct {
	base string
	key  secret.String
	http *http.Client
}

// New returns a client. It connects when it is used.
func New(c Config) (*Client, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute,
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		pool, err := tlsconf.LoadPool(pem)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.CAFile, err)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return &Client{base: strings.TrimSuffix(c.Server, "/"), key: c.Key, http: &http.Client{
		Transport: transport,
		// A key must not follow a redirect to somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Request is what to call.
type Request struct {
	Method, Path string
	Query        url.Values
}

// Call makes one request: body, if it is not nil, as JSON; the answer goes into
// answer, if it is not nil. Errors of the server are *errs.Error.
func (c *Client) Call(ctx context.Context, r Request, body, answer proto.Message) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = write.Marshal(body); err != nil {
			return err
		}
	}
	res, err := c.do(ctx, r, data)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return ErrUnreachable.WithCause(err)
	}
	if answer == nil {
		return nil
	}
	if err := read.Unmarshal(data, answer); err != nil {
		return ErrUnreachable.WithMessage("what %s answers is not Dialback's REST", c.base).WithCause(err)
	}
	return nil
}

// Lines calls each with every line of a stream until it ends or each returns an
// error. A line is a JSON object with "result" or "error".
func (c *Client) Lines(ctx context.Context, path string, query url.Values, each func(result []byte) error) error {
	res, err := c.do(ctx, Request{Method: http.MethodGet, Path: path, Query: query}, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		var line struct {
			Result json.RawMessage
			Error  *problem
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return ErrUnreachable.WithMessage("what %s streams is not Dialback's REST", c.base).WithCause(err)
		}
		if line.Error != nil {
			return line.Error.err(0)
		}
		if err := each(line.Result); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return ErrUnreachable.WithCause(err)
	}
	return nil
}

// Unmarshal reads a message of REST.
func Unmarshal(data []byte, m proto.Message) error { return read.Unmarshal(data, m) }

func (c *Client) do(ctx context.Context, r Request, body []byte) (*http.Response, error) {
	target := c.base + r.Path
	if len(r.Query) > 0 {
		target += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // without the URL, which the caller names
		}
		return nil, ErrUnreachable.WithMessage("cannot reach %s", c.base).WithCause(err)
	}
	if res.StatusCode >= http.StatusOK && res.StatusCode < http.StatusMultipleChoices {
		return res, nil
	}
	defer res.Body.Close()
	return nil, c.refused(res)
}

// problem is the JSON of an error.
type problem struct {
	Code, Reason, Message string
	Metadata              map[string]string
	Fields                []struct{ Field, Description string }
	TraceID               string `json:"trace_id"`
}

func (c *Client) refused(res *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	var p problem
	if err != nil || json.Unmarshal(data, &p) != nil || p.Code == "" {
		return ErrUnreachable.WithMessage("%s answers %s, which is not Dialback's REST", c.base, res.Status)
	}
	wait, _ := strconv.Atoi(res.Header.Get("Retry-After")) // absent: 0
	return p.err(time.Duration(wait) * time.Second)
}

var kinds = map[string]errs.Kind{
	"INVALID_ARGUMENT": errs.InvalidArgument, "NOT_FOUND": errs.NotFound, "ALREADY_EXISTS": errs.AlreadyExists,
	"PERMISSION_DENIED": errs.PermissionDenied, "UNAUTHENTICATED": errs.Unauthenticated, "FAILED_PRECONDITION": errs.FailedPrecondition,
	"ABORTED": errs.Aborted, "UNAVAILABLE": errs.Unavailable, "RESOURCE_EXHAUSTED": errs.ResourceExhausted,
	"DEADLINE_EXCEEDED": errs.DeadlineExceeded,
}

func (p problem) err(wait time.Duration) error {
	e := errs.New(kinds[p.Code], errs.Reason(p.Reason), p.Message).WithRetry(wait)
	for k, v := range p.Metadata {
		e = e.WithMetadata(k, v)
	}
	for _, f := range p.Fields {
		e = e.WithField(f.Field, f.Description)
	}
	if p.TraceID != "" {
		e = e.WithMetadata("trace_id", p.TraceID)
	}
	return e
}
