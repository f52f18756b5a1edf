package connector_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"go.opentelemetry.io/otel/trace"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/services/connector"
)

// export sends one span of a trace under the MAC of agentID, on a's connection,
// in the name of a session.
func (a *agent) export(ctx context.Context, sessionID, agentID string) error {
	a.t.Helper()
	id := trace.TraceID{9}
	otlp, err := proto.Marshal(&collectorv1.ExportTraceServiceRequest{ResourceSpans: []*tracev1.ResourceSpans{{
		ScopeSpans: []*tracev1.ScopeSpans{{Spans: []*tracev1.Span{{
			TraceId: id[:], SpanId: []byte("12345678"), Name: "dial",
			Attributes: []*commonv1.KeyValue{{Key: "dialback.trace_mac", Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{
				StringValue: hex.EncodeToString(telemetry.TraceMAC(traceKey, agentID, id)),
			}}}},
		}}}},
	}}})
	if err != nil {
		a.t.Fatal(err)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "dialback-session", sessionID)
	stream, err := agentv1.NewControlServiceClient(a.conn).ExportSpans(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&agentv1.ExportSpansRequest{Otlp: otlp}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	_, err = stream.CloseAndRecv()
	return err
}

func TestSpansBelongToTheSessionOfTheirConnection(t *testing.T) {
	t.Parallel()
	exported := make(chan *tracev1.ResourceSpans, 8)
	r := start(t, quickDrain, func(_ *connector.Config, d *connector.Deps) {
		d.SpanExporter = func(_ context.Context, spans []*tracev1.ResourceSpans) error {
			for _, s := range spans {
				exported <- s
			}
			return nil
		}
	})
	a, rival := r.join(hello("t-acme")), r.join(hello("t-rival"))
	noSession := errs.New(errs.FailedPrecondition, errs.ReasonNotFound, "")
	if err := rival.export(r.ctx, a.GetSessionId(), a.GetAgentId()); !errors.Is(err, noSession) {
		t.Errorf("another connection's session: %v", err)
	}
	if err := a.export(r.ctx, "", a.GetAgentId()); !errors.Is(err, noSession) {
		t.Errorf("no session: %v", err)
	}
	if err := a.export(r.ctx, a.GetSessionId(), rival.GetAgentId()); err != nil || r.node.Dropped() != 1 {
		t.Errorf("a rival's trace: %v, %d dropped", err, r.node.Dropped())
	}
	if err := a.export(r.ctx, a.GetSessionId(), a.GetAgentId()); err != nil {
		t.Error(err)
	}
	select {
	case s := <-exported:
		if name := s.GetResource().GetAttributes()[0].GetValue().GetStringValue(); name != "dialback-agent" {
			t.Errorf("service %q", name)
		}
	case <-r.ctx.Done():
		t.Fatal("nothing was exported")
	}
}
