// Package api is the contract in a form that can be served.
package api

import _ "embed"

// OpenAPI is the OpenAPI document of REST.
//
//go:embed gen/openapi.json
var OpenAPI []byte
