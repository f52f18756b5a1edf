// Package api is the contract in a form that can be served.
package api

import _ "embed"

// OpenAPI is the OpenAPI (Swagger 2.0) document of REST.
//
//go:embed gen/openapi.swagger.json
var OpenAPI []byte
