// Command protoc-gen-rest is a plugin of buf: it has protoc-gen-openapiv2, beside
// it, make the OpenAPI document, and answers it as OpenAPI 3, with one path for
// what REST has at one place. (The other plugin names the parameters of a path after
// the fields they go into: "/v1/accounts/{id}" and, for updates,
// "/v1/accounts/{account.id}", which OpenAPI forbids.) With the option "client" it
// answers a client in Go, made from that document.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "protoc-gen-rest:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var request pluginpb.CodeGeneratorRequest
	if err := proto.Unmarshal(data, &request); err != nil {
		return err
	}
	options, asClient := strings.CutPrefix(request.GetParameter(), "client,")
	request.Parameter = &options
	answer, err := ask(&request)
	if err != nil {
		return err
	}
	for _, f := range answer.GetFile() {
		name := "openapi.json"
		content, err := convert([]byte(f.GetContent()))
		if err == nil && asClient {
			name = "restapi.gen.go"
			content, err = client(content)
		}
		if err != nil {
			return err
		}
		f.Name, f.Content = &name, proto.String(string(content))
	}
	if data, err = proto.Marshal(answer); err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// ask runs the other plugin.
func ask(request *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	data, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	other := exec.Command(filepath.Join(filepath.Dir(own), "protoc-gen-openapiv2"))
	other.Stdin, other.Stderr = bytes.NewReader(data), os.Stderr
	if data, err = other.Output(); err != nil {
		return nil, err
	}
	answer := &pluginpb.CodeGeneratorResponse{}
	return answer, proto.Unmarshal(data, answer)
}
