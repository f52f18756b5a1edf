package privatefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// maxYAML bounds what ReadYAML reads, in bytes.
const maxYAML = 1 << 20

// ReadYAML decodes path into the struct that to points at; not found: there is no
// such file, or nothing in it. Keys that the struct has not, a second document and
// more than a MiB are errors. Errors name the file and, where there is one, the
// line.
func ReadYAML(path string, to any) (found bool, err error) {
	f, err := os.Open(path) // #nosec G304 -- the user's own choice
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxYAML+1))
	if err != nil {
		return false, err
	}
	if found, err = decode(data, to); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return found, nil
}

func decode(data []byte, to any) (found bool, err error) {
	if len(data) > maxYAML {
		return false, fmt.Errorf("larger than %d bytes", maxYAML)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	switch err := dec.Decode(to); {
	case errors.Is(err, io.EOF):
		return false, nil
	case err != nil:
		return false, explain(err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return false, errors.New("more than one YAML document")
	}
	return true, nil
}

var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

// explain takes the names of Go types out of the decoder's messages.
func explain(err error) error {
	var typeErr *yaml.TypeError
	if !errors.As(err, &typeErr) {
		return err
	}
	problems := make([]error, len(typeErr.Errors))
	for i, text := range typeErr.Errors {
		problems[i] = errors.New(unknownField.ReplaceAllString(text, `unknown key "$1"`))
	}
	return errors.Join(problems...)
}

// WriteYAML replaces path with value, as Write does.
func WriteYAML(path string, value any) error {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(value), enc.Close()); err != nil {
		return err
	}
	return Write(path, b.Bytes())
}
