package standalone

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/internal/version"
)

// flushLimit bounds the last export: a collector that is away must not hold the
// stop.
const flushLimit = 3 * time.Second

// tracing is each part's tracer, over one connection to the collector.
type tracing struct {
	exporter sdktrace.SpanExporter
	uploader otlptrace.Client
	parts    map[string]*telemetry.Telemetry
}

func newTracing(ctx context.Context) (*tracing, error) {
	t := &tracing{parts: map[string]*telemetry.Telemetry{}}
	var err error
	if t.exporter, err = telemetry.NewExporter(ctx); err != nil {
		return nil, err
	}
	if t.uploader, err = telemetry.NewUploader(ctx); err != nil {
		return nil, err
	}
	for _, role := range []string{tlsconf.RoleAuth, tlsconf.RoleRegistry, tlsconf.RoleConnector, tlsconf.RoleFrontdoor} {
		t.parts[role], err = telemetry.New(ctx, telemetry.Config{
			Service: "dialback-" + role, Instance: nodeName, Version: version.Version,
		}, t.exporter)
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// upload sends agents' spans; nil if there is no collector.
func (t *tracing) upload() func(context.Context, []*tracev1.ResourceSpans) error {
	if t.uploader == nil {
		return nil
	}
	return t.uploader.UploadTraces
}

func (t *tracing) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	var all []error
	for _, part := range t.parts {
		all = append(all, part.Shutdown(ctx))
	}
	if t.exporter != nil {
		all = append(all, t.exporter.Shutdown(ctx))
	}
	if t.uploader != nil {
		all = append(all, t.uploader.Stop(ctx))
	}
	return errors.Join(all...)
}
