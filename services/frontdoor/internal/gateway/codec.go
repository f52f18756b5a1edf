package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"regexp"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
)

var (
	// write has every field, also those without a value: programs find them
	// without asking whether they are there.
	write = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}
	// read refuses fields that it does not know: they would do nothing.
	read = protojson.UnmarshalOptions{}
)

// codec is the JSON of REST: names of fields as in the protos and in errors.
type codec struct{ runtime.JSONPb }

// ContentType implements runtime.Marshaler.
func (codec) ContentType(any) string { return "application/json" }

// Marshal implements runtime.Marshaler.
func (codec) Marshal(v any) ([]byte, error) {
	return (&runtime.JSONPb{MarshalOptions: write}).Marshal(v)
}

// Unmarshal implements runtime.Marshaler.
func (codec) Unmarshal(data []byte, v any) error {
	err := (&runtime.JSONPb{UnmarshalOptions: read}).Unmarshal(data, v)
	if err == nil && !json.Valid(data) { // the library reads one value and leaves the rest
		err = errors.New("more than one value")
	}
	return explained(data, err)
}

// NewDecoder implements runtime.Marshaler.
func (c codec) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return nil // a request without fields
		}
		return c.Unmarshal(data, v)
	})
}

// NewEncoder implements runtime.Marshaler.
func (c codec) NewEncoder(w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		data, err := c.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
}

// unknownField and malformed are told by writeError, which gets their text alone.
func unknownField(name string) error { return fmt.Errorf("unknown field %q", name) }

var (
	fieldText = regexp.MustCompile(`unknown field "([^"]*)"`)
	valueText = regexp.MustCompile(`invalid value for \w+ field (\w+):`)
	placeText = regexp.MustCompile(`^\(line (\d+):(\d+)\): `)
)

// explained says of a body that could not be read where and what is wrong.
func explained(data []byte, err error) error {
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if bad := json.Unmarshal(data, new(any)); errors.As(bad, &syntax) {
		line, column := place(data, syntax.Offset)
		return fmt.Errorf("malformed JSON at line %d, column %d: %s", line, column, strings.TrimPrefix(syntax.Error(), "json: "))
	}
	// The library varies its spaces, so that nobody takes its text for an interface.
	text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
	return errors.New(placeText.ReplaceAllString(text, "line $1, column $2: "))
}

// place turns an offset into a line and a column, both from 1.
func place(data []byte, offset int64) (line, column int) {
	before := data[:min(max(offset-1, 0), int64(len(data)))]
	return 1 + bytes.Count(before, []byte("\n")), len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1
}

func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == "application/json"
}
