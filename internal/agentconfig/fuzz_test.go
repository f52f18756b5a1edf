package agentconfig_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/dialback/dialback/internal/agentconfig"
)

// What Load accepts, Save must be able to write and Load to read again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("version: 1\ndefault: localhost:7443\nservers:\n  localhost:7443:\n    authtoken: dbt_a_b\n    pins: [" + pin + "]\n"))
	f.Add([]byte("version: 1\nservers: {10.0.0.1: {authtoken: dbt_a_b, domain: example.com}}\n"))
	f.Add([]byte("version: 1\nx: &a [*a]\n"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "c")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := agentconfig.Load(path)
		if err != nil {
			return
		}
		if err := c.Save(path); err != nil {
			t.Fatalf("cannot save what was loaded: %v", err)
		}
		again, err := agentconfig.Load(path)
		if err != nil {
			t.Fatalf("cannot load what was saved: %v", err)
		}
		if len(c.Servers)+len(again.Servers) > 0 && !reflect.DeepEqual(c.Servers, again.Servers) || c.Default != again.Default {
			t.Fatalf("%+v became %+v", c, again)
		}
	})
}
