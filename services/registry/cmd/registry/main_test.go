package main

import (
	"context"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/config"
	"github.com/dialback/dialback/services/registry"
)

var required = []string{
	"--domain=example.com", "--auth=dns:///auth:7401", "--etcd=http://127.0.0.1:1", "--cert=no.crt", "--key=no.key", "--ca=no.crt",
}

// What the help shows as defaults is what the package says.
func TestDefaults(t *testing.T) {
	t.Parallel()
	var f flags
	if _, err := config.Parse(&f, required, config.Options{Name: "registry", EnvPrefix: "DIALBACK_REGISTRY_TEST_"}); err != nil {
		t.Fatal(err)
	}
	want := registry.Default("example.com")
	if f.LeaseTTL != want.LeaseTTL || f.Grace != want.Grace || f.Park != want.Park {
		t.Errorf("flags %+v, want %+v", f, want)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"an unknown flag": {append([]string{"--leasettl=1s"}, required...), "leasettl"},
		"no domain":       {required[1:], "--domain"},
		"no certificate":  {required, "service certificate"},
	} {
		if err := run(context.Background(), test.args); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
