package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
)

func convert(v2 []byte) ([]byte, error) {
	merged, err := merge(v2)
	if err != nil {
		return nil, err
	}
	var document openapi2.T
	if err := json.Unmarshal(merged, &document); err != nil {
		return nil, err
	}
	v3, err := openapi2conv.ToV3(&document)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(v3)
	if err != nil {
		return nil, err
	}
	if data, err = completed(data); err != nil {
		return nil, err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, data, "", "  "); err != nil {
		return nil, err
	}
	pretty.WriteByte('\n')
	return pretty.Bytes(), nil
}

// overlay is what OpenAPI 3 can say and the other plugin's document cannot.
//
//go:embed overlay.json
var overlay []byte

// completed adds the overlay, and to each operation its errors; streams are lines
// of JSON.
func completed(v3 []byte) ([]byte, error) {
	var tree, over map[string]any
	if err := json.Unmarshal(v3, &tree); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(overlay, &over); err != nil {
		return nil, err
	}
	lay(tree, over)
	delete(tree, "servers") // it is served by the server that it is for
	for _, item := range tree["paths"].(map[string]any) {
		for _, o := range item.(map[string]any) {
			responses := o.(map[string]any)["responses"].(map[string]any)
			responses["default"] = map[string]any{"$ref": "#/components/responses/Error"}
			good := responses["200"].(map[string]any)
			if strings.Contains(fmt.Sprint(good["description"]), "streaming") {
				content := good["content"].(map[string]any)
				good["content"] = map[string]any{"application/x-ndjson": content["application/json"]}
			}
		}
	}
	return json.Marshal(tree)
}

func lay(into, from map[string]any) {
	for key, value := range from {
		if inner, ok := value.(map[string]any); ok {
			if there, ok := into[key].(map[string]any); ok && key != "bearer" {
				lay(there, inner)
				continue
			}
		}
		into[key] = value
	}
}

// parameter is that of a path whose field is in a message of the request.
var parameter = regexp.MustCompile(`\{[a-z_]+\.([a-z_]+)\}`)

// merge gives parameters of paths the name of their field alone, and makes one
// path of those that are the same then.
func merge(v2 []byte) ([]byte, error) {
	var tree map[string]any
	if err := json.Unmarshal(v2, &tree); err != nil {
		return nil, err
	}
	paths, ok := tree["paths"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the document has no paths")
	}
	one := map[string]any{}
	for path, item := range paths {
		short := parameter.ReplaceAllString(path, "{$1}")
		operations, err := renamed(item)
		if err != nil {
			return nil, err
		}
		if there, ok := one[short].(map[string]any); ok {
			maps.Copy(there, operations)
			continue
		}
		one[short] = operations
	}
	tree["paths"] = one
	return json.Marshal(tree)
}

// renamed is the operations of a path with the short names of its parameters.
func renamed(item any) (map[string]any, error) {
	operations, ok := item.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a path has no operations")
	}
	for _, o := range operations {
		operation, _ := o.(map[string]any)
		list, _ := operation["parameters"].([]any)
		for _, p := range list {
			if p, ok := p.(map[string]any); ok && p["in"] == "path" {
				long := fmt.Sprint(p["name"])
				p["name"] = long[strings.LastIndexByte(long, '.')+1:]
			}
		}
	}
	return operations, nil
}
