package dialback

import "testing"

func TestOnline(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"level":"INFO","msg":"tunnel online","url":"http://a.localhost:7080","forwards_to":"x"}`: "a.localhost:7080",
		`{"level":"INFO","msg":"tunnel online","url":"https://a.localhost:7443"}`:                  "",
		`{"level":"INFO","msg":"connected"}`:                                                       "",
		`not JSON`:                                                                                 "",
	} {
		a := &Agent{}
		if online := a.online(line); online != (want != "") || a.Host != want {
			t.Errorf("%s: %v %q, want %q", line, online, a.Host, want)
		}
	}
}
