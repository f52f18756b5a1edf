package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// errorEvery is how often a collector that is away may cost a line of the log.
const errorEvery = time.Minute

// NewExporter returns the exporter that the environment asks for, or nil: OTLP over
// gRPC where OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is
// set. It does not wait for the collector. The caller shuts it down.
func NewExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	if wanted, err := wantsExporter(); !wanted || err != nil {
		return nil, err
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the OTLP exporter; check the OTEL_EXPORTER_OTLP_* variables: %w", err)
	}
	return exporter, nil
}

// NewUploader returns what sends spans that other processes have made, in OTLP's
// own form, to the collector that the environment asks for; nil if it asks for
// none. The caller stops it.
func NewUploader(ctx context.Context) (otlptrace.Client, error) {
	if wanted, err := wantsExporter(); !wanted || err != nil {
		return nil, err
	}
	client := otlptracegrpc.NewClient()
	if err := client.Start(ctx); err != nil {
		return nil, fmt.Errorf("open the OTLP client; check the OTEL_EXPORTER_OTLP_* variables: %w", err)
	}
	return client, nil
}

// wantsExporter reads the environment.
func wantsExporter() (bool, error) {
	if sdkDisabled() || !hasEndpoint() {
		return false, nil
	}
	switch name := os.Getenv("OTEL_TRACES_EXPORTER"); name {
	case "", "otlp":
	case "none":
		return false, nil
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; set it to otlp or none", name)
	}
	if p := protocol(); p != "" && p != "grpc" {
		return false, fmt.Errorf("the OTLP protocol is %q; set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL to grpc "+
			"and the endpoint to the collector's gRPC port, usually 4317", p)
	}
	return true, nil
}

func hasEndpoint() bool {
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

func protocol() string {
	if p := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"); p != "" {
		return p
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
}

// unowned is an exporter that outlives its tracer provider.
type unowned struct{ sdktrace.SpanExporter }

func (unowned) Shutdown(context.Context) error { return nil }

// SetErrorHandler sends what goes wrong inside tracing to log, one line a minute.
// It is global to the process: only a main calls it.
func SetErrorHandler(log *slog.Logger) {
	otel.SetErrorHandler(newErrorHandler(log))
}

// errorHandler counts what it does not print.
type errorHandler struct {
	log *slog.Logger

	mu         sync.Mutex
	next       time.Time
	suppressed int
}

func newErrorHandler(log *slog.Logger) *errorHandler {
	return &errorHandler{log: log}
}

// Handle is called by the SDK, from its exporting goroutine.
func (h *errorHandler) Handle(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if now.Before(h.next) {
		h.suppressed++
		return
	}
	h.log.Warn("tracing failed; spans are lost", "error", err, "suppressed", h.suppressed)
	h.next, h.suppressed = now.Add(errorEvery), 0
}
