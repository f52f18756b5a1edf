package state_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dialback/dialback/internal/agent/state"
)

const server = "localhost:7443"

var (
	key3000 = state.Key{Protocol: "http", Address: "localhost:3000"}
	key8080 = state.Key{Protocol: "http", Address: "localhost:8080"}
)

// holderEnv turns the test binary into a process that holds a slot.
const holderEnv = "DIALBACK_TEST_HOLD_SLOT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderEnv); dir != "" {
		slot, err := state.Acquire(dir, server, []state.Key{key8080})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		id, _ := slot.TunnelID(key8080)
		fmt.Println(slot.Path(), id)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		os.Exit(0) // without Close: the lock ends with the process
	}
	os.Exit(m.Run())
}

type holder struct {
	path, id string
	stop     func()
}

func hold(t *testing.T, dir string) holder {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderEnv+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { _ = in.Close(); _ = cmd.Wait() }
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	path, id, _ := strings.Cut(strings.TrimSpace(line), " ")
	return holder{path: path, id: id, stop: stop}
}

func acquire(t *testing.T, dir string, keys ...state.Key) *state.Slot {
	t.Helper()
	slot, err := state.Acquire(dir, server, keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slot.Close() })
	return slot
}

func tunnelID(t *testing.T, slot *state.Slot, key state.Key) string {
	t.Helper()
	id, err := slot.TunnelID(key)
	if err != nil || len(id) != 32 {
		t.Fatalf("id %q, %v", id, err)
	}
	return id
}

func TestTwoProcessesNeverShareASlot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := hold(t, dir), hold(t, dir)
	if one.path == two.path || one.id == two.id {
		t.Fatalf("both have %s, ids %s and %s", one.path, one.id, two.id)
	}
	one.stop()
	if again := hold(t, dir); again.path != one.path || again.id != one.id {
		t.Errorf("after a restart %s with %s, want %s with %s", again.path, again.id, one.path, one.id)
	}
}

// Both command lines get their own ids again, whichever is started first, alone
// or beside the other.
func TestEachCommandLineFindsItsOwnSlot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ids := map[state.Key]string{}
	for _, key := range []state.Key{key3000, key8080} {
		slot := acquire(t, dir, key)
		ids[key] = tunnelID(t, slot, key)
		if err := slot.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, order := range [][]state.Key{{key3000, key8080}, {key8080, key3000}, {key8080}} {
		var held []*state.Slot
		for _, key := range order {
			slot := acquire(t, dir, key)
			held = append(held, slot)
			if got := tunnelID(t, slot, key); got != ids[key] {
				t.Errorf("order %v: %v has id %s, want %s", order, key, got, ids[key])
			}
		}
		for _, slot := range held {
			_ = slot.Close()
		}
	}
}

func TestServersAndNamesAreApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	slot := acquire(t, dir, key8080)
	named := key8080
	named.Name = "app"
	if tunnelID(t, slot, key8080) == tunnelID(t, slot, named) {
		t.Error("a named and a random tunnel have one id")
	}
	other, err := state.Acquire(dir, "[::1]:7443", []state.Key{key8080})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if tunnelID(t, slot, key8080) == tunnelID(t, other, key8080) {
		t.Error("two servers see one id")
	}
}

func TestIdentityIsKeptAndForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	slot := acquire(t, dir, key8080)
	want := state.Identity{AgentID: "a", ResumeToken: "secret"}
	if err := slot.SetIdentity(want); err != nil {
		t.Fatal(err)
	}
	id := tunnelID(t, slot, key8080)
	info, err := os.Stat(slot.Path())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	_ = slot.Close()

	slot = acquire(t, dir, key8080)
	if got := slot.Identity(); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := slot.Forget(); err != nil {
		t.Fatal(err)
	}
	_ = slot.Close()
	slot = acquire(t, dir, key8080)
	if got := slot.Identity(); got != (state.Identity{}) {
		t.Errorf("still %v", got)
	}
	if tunnelID(t, slot, key8080) == id {
		t.Error("the tunnel has the id that another agent uses")
	}
}

func TestUnreadableFileIsMovedAside(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not JSON": "\x00", "half written": `{"version":1,"agent_id":"a"`, "no version": `{}`,
		"id without proof": `{"version":1,"agent_id":"a","tunnels":{}}`, "bad id": `{"version":1,"tunnels":{"k":{"id":"../x"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			slot := acquire(t, dir, key8080)
			path := slot.Path()
			_ = slot.Close()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			slot = acquire(t, dir, key8080)
			if slot.Path() != path || !strings.Contains(slot.Notice(), path) {
				t.Errorf("slot %s, notice %q", slot.Path(), slot.Notice())
			}
			kept, err := os.ReadFile(path + ".unreadable")
			if err != nil || string(kept) != text {
				t.Errorf("kept %q, %v", kept, err)
			}
			tunnelID(t, slot, key8080)
		})
	}
}

func TestNewerFileIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "localhost_7443")
	path := filepath.Join(folder, "slot-1.json")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if slot := acquire(t, dir, key8080); slot.Path() == path {
		t.Error("took a slot that it does not understand")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != `{"version":2}` {
		t.Errorf("now %q, %v", text, err)
	}
}

func TestManyCommandLinesReuseTheOldestSlot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := map[string]bool{}
	for port := range 40 {
		key := state.Key{Protocol: "http", Address: fmt.Sprint("localhost:", port)}
		slot := acquire(t, dir, key)
		tunnelID(t, slot, key)
		paths[slot.Path()] = true
		_ = slot.Close()
	}
	if len(paths) != 32 {
		t.Errorf("%d slots for 40 command lines, want 32", len(paths))
	}
}
