module github.com/dialback/dialback/services/frontdoor

go 1.26.8

require (
	github.com/alecthomas/kong v1.17.0
	github.com/dialback/dialback v0.0.0-00010101000000-000000000000
	go.opentelemetry.io/otel v1.47.0
	go.opentelemetry.io/otel/sdk v1.47.0
	go.opentelemetry.io/otel/trace v1.47.0
	go.uber.org/goleak v1.3.0
	golang.org/x/time v0.16.0
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
)

replace github.com/dialback/dialback => ../..
