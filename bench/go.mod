module github.com/dialback/dialback/bench

go 1.26.8

require (
	github.com/dialback/dialback v0.0.0-00010101000000-000000000000
	go.uber.org/goleak v1.3.0
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace github.com/dialback/dialback => ..
