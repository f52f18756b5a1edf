package main

import (
	"context"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oapi-codegen/oapi-codegen/v2/pkg/codegen"
)

// client generates, with oapi-codegen, a client in Go from the document alone, as
// a stranger would. The end-to-end tests call REST with it.
func client(document []byte) ([]byte, error) {
	v3, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, err
	}
	if err := v3.Validate(context.Background()); err != nil {
		return nil, err
	}
	config := codegen.Configuration{
		PackageName: "restapi", Generate: codegen.GenerateOptions{Client: true, Models: true},
	}
	code, err := codegen.Generate(v3, config.UpdateDefaults())
	return []byte(code), err
}
