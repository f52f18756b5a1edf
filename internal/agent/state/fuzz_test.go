package state

import (
	"encoding/json"
	"reflect"
	"testing"
)

// A state file may be anything: it is read whole, or moved aside.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"agent_id":"a","resume_token":"b","tunnels":{"http localhost:1 ":{"id":"00000000000000000000000000000000","used":"2026-01-02T03:04:05Z"}}}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parse(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parse(text); err != nil || !reflect.DeepEqual(r.AgentID, again.AgentID) || len(r.Tunnels) != len(again.Tunnels) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}
