package directory_test

import (
	"testing"

	"github.com/dialback/dialback/services/registry/internal/directory"
)

// A rival takes the free name and gives it up again between read and commit. It
// must not have had the generation of the owner, nor a higher one: its connector
// may still say what it had.
func TestARivalComesAndGoesBetweenReadAndCommit(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*fixture){
		"at the same revision": func(*fixture) {},
		"at a later one":       func(f *fixture) { f.bind(agentOf("c"), "s3", "t3", "other.example.com") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			rival := agentOf("b")
			rival.Account = "other"
			var theirs *directory.Claim
			f.store.meanwhile = func() {
				before(f)
				theirs = f.bind(rival, "s2", "t2", host)
				if err := f.Release(t.Context(), rival, "t2", directory.Closed, directory.Source{}); err != nil {
					t.Error(err)
				}
			}
			mine := f.bind(agentOf("a"), "s1", "t1", host)
			if mine.Generation <= theirs.Generation {
				t.Errorf("generation %d follows %d", mine.Generation, theirs.Generation)
			}
			late := directory.Attachment{Hostname: host, Generation: theirs.Generation, Connector: "c1-abcd", Session: "s2"}
			if _, err := f.store.Reattach(t.Context(), "c1-abcd", f.lease, []directory.Attachment{late}); err != nil {
				t.Error(err)
			}
			if got := sessions(f.endpoint(host)); got != "s1" {
				t.Errorf("attached are %q", got)
			}
		})
	}
}
