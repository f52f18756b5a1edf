// Package telemetry builds what a process needs to be seen: a tracer that is
// configured by the standard OTEL_* variables, a logger that names the trace, and
// the trace context's way over hops that have no headers.
package telemetry

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

const (
	// shutdownLimit bounds the last export of a process that stops: a collector
	// that is away must not hold it.
	shutdownLimit = 5 * time.Second
	// maxValue is the length in bytes at which attribute values are cut, unless
	// OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT says otherwise. They hold text of peers.
	maxValue = 1024
)

// Telemetry is the tracing of one part of the system.
type Telemetry struct {
	Tracer trace.TracerProvider
	// Propagator reads and writes the W3C trace context with its sizes capped, and
	// nothing else: baggage ends at the edge.
	Propagator propagation.TextMapPropagator

	shutdown func(context.Context) error
}

// Config says who emits the spans.
type Config struct {
	// Service is the part's name, such as "frontdoor". In a process of one part
	// OTEL_SERVICE_NAME overrides it.
	Service string
	// Instance is unique to this start of the process.
	Instance string
	Version  string
}

// New returns the tracing of one part. A nil exporter means: the one that the
// environment asks for, or none, which still gives spans ids for logs and error
// pages. An exporter that is given may be shared by several parts: it must be safe
// for concurrent use, and Shutdown leaves it open.
func New(ctx context.Context, cfg Config, exporter sdktrace.SpanExporter) (*Telemetry, error) {
	if sdkDisabled() {
		return Noop(), nil
	}
	shared := exporter != nil
	if shared {
		exporter = unowned{exporter}
	} else {
		var err error
		if exporter, err = NewExporter(ctx); err != nil {
			return nil, err
		}
	}
	if exporter == nil && defaultSampler() {
		return &Telemetry{Tracer: unexported{}, Propagator: edge{}, shutdown: nothing}, nil
	}
	res, err := newResource(ctx, cfg, shared)
	if err != nil {
		return nil, fmt.Errorf("describe the process for tracing: %w", err)
	}
	opts := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(res),
		sdktrace.WithIDGenerator(idGenerator{}),
		sdktrace.WithRawSpanLimits(spanLimits()),
	}
	if exporter != nil {
		opts = append(opts, sdktrace.WithBatcher(exporter))
	}
	provider := sdktrace.NewTracerProvider(opts...)
	return &Telemetry{Tracer: provider, Propagator: edge{}, shutdown: provider.Shutdown}, nil
}

// Noop returns tracing that records nothing but passes a trace context on.
func Noop() *Telemetry {
	return &Telemetry{
		Tracer:     noop.NewTracerProvider(),
		Propagator: edge{},
		shutdown:   nothing,
	}
}

func nothing(context.Context) error { return nil }

// Shutdown exports what is left, for at most 5 s or until ctx ends.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	if err := t.shutdown(ctx); err != nil {
		return fmt.Errorf("export the last spans: %w", err)
	}
	return nil
}

// newResource lets the environment's OTEL_SERVICE_NAME win only where it can mean
// one part: under a shared exporter it would give all parts the same name.
func newResource(ctx context.Context, cfg Config, shared bool) (*resource.Resource, error) {
	own, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", cfg.Service),
		attribute.String("service.instance.id", cfg.Instance),
		attribute.String("service.version", cfg.Version),
	))
	if err != nil {
		return nil, err
	}
	if shared {
		return resource.Merge(resource.Environment(), own)
	}
	return resource.Merge(own, resource.Environment())
}

func spanLimits() sdktrace.SpanLimits {
	limits := sdktrace.NewSpanLimits()
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = maxValue
	}
	return limits
}

func sdkDisabled() bool {
	return strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true")
}
