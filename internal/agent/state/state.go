// Package state keeps who this agent is over restarts: its id, the token that
// proves it, and the ids of its tunnels, on which its public names hang.
//
// State lies in slots, one file each, and a process holds its slot under an
// exclusive lock for its life. So two agents of one user never use one id: they
// would take each other's names for ever. A command line finds its own slot
// again, and with it its URL.
package state

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/dialback/dialback/internal/privatefile"
)

const (
	formatVersion = 1
	// maxSize bounds what is read.
	maxSize = 1 << 20
	// maxTunnels bounds the tunnels that a slot remembers; beyond it, the one
	// that was not used for longest is forgotten.
	maxTunnels = 256
)

// Key is what makes a configured tunnel the same one after a restart.
type Key struct {
	// Protocol is the endpoint's kind, for instance "http".
	Protocol string
	// Address of the local service, for instance "localhost:8080".
	Address string
	// Name that was asked for; empty: a random one.
	Name string
}

func (k Key) String() string { return k.Protocol + " " + k.Address + " " + k.Name }

// Identity proves to a server which agent this is; zero at first contact.
type Identity struct {
	AgentID     string
	ResumeToken string
}

// record is the file.
type record struct {
	Version     int               `json:"version"`
	AgentID     string            `json:"agent_id,omitempty"`
	ResumeToken string            `json:"resume_token,omitempty"`
	Tunnels     map[string]tunnel `json:"tunnels"`
}

type tunnel struct {
	ID   string    `json:"id"`
	Used time.Time `json:"used"`
}

// Slot is one agent's state, held under a lock until Close.
type Slot struct {
	path   string
	notice string
	lock   *os.File

	mu     sync.Mutex
	record record
}

// Notice is a line for the agent's owner about the state file, or empty.
func (s *Slot) Notice() string { return s.notice }

// Path returns the file of the slot.
func (s *Slot) Path() string { return s.path }

// Identity returns who this agent is.
func (s *Slot) Identity() Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Identity{AgentID: s.record.AgentID, ResumeToken: s.record.ResumeToken}
}

// SetIdentity keeps who this agent is, from the server's answer.
func (s *Slot) SetIdentity(id Identity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record.AgentID == id.AgentID && s.record.ResumeToken == id.ResumeToken {
		return nil
	}
	s.record.AgentID, s.record.ResumeToken = id.AgentID, id.ResumeToken
	return s.save()
}

// Forget drops the identity and the tunnels' ids: someone else uses them, for
// instance a copy of this machine. They are never used again.
func (s *Slot) Forget() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = newRecord()
	return s.save()
}

// TunnelID returns the id of a configured tunnel: 32 hexadecimal digits, drawn
// at the first time. An error is about keeping it; the id is good.
func (s *Slot) TunnelID(key Key) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, known := s.record.Tunnels[key.String()]
	if !known {
		t.ID = newID()
	}
	t.Used = time.Now().UTC().Truncate(time.Second)
	s.record.Tunnels[key.String()] = t
	s.record.trim()
	return t.ID, s.save()
}

// Close lets go of the slot.
func (s *Slot) Close() error { return s.release() }

func (s *Slot) save() error {
	data, err := json.MarshalIndent(s.record, "", "  ")
	if err != nil {
		return err
	}
	return privatefile.Write(s.path, append(data, '\n'))
}

func newRecord() record {
	return record{Version: formatVersion, Tunnels: map[string]tunnel{}}
}

func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// trim forgets the oldest tunnels above the limit.
func (r *record) trim() {
	for len(r.Tunnels) > maxTunnels {
		oldest := ""
		for key, t := range r.Tunnels {
			if oldest == "" || t.Used.Before(r.Tunnels[oldest].Used) {
				oldest = key
			}
		}
		delete(r.Tunnels, oldest)
	}
}

// used returns when the slot was last used for a tunnel.
func (r *record) used() time.Time {
	var last time.Time
	for _, t := range r.Tunnels {
		if t.Used.After(last) {
			last = t.Used
		}
	}
	return last
}

// errNewer means that a later release wrote the file: it is left alone.
var errNewer = errors.New("written by a newer release")

// read returns the record in a file; an empty one if there is no file.
func read(path string) (record, error) {
	f, err := os.Open(path) // #nosec G304 -- a slot of the state folder
	if errors.Is(err, os.ErrNotExist) {
		return newRecord(), nil
	}
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return record{}, err
	}
	return parse(data)
}

func parse(data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, err
	}
	if r.Version > formatVersion {
		return record{}, errNewer
	}
	if r.Version != formatVersion || r.Tunnels == nil || (r.AgentID == "") != (r.ResumeToken == "") {
		return record{}, errors.New("incomplete")
	}
	for key, t := range r.Tunnels {
		if id, err := hex.DecodeString(t.ID); err != nil || len(id) != 16 {
			return record{}, fmt.Errorf("tunnel %q: %q is not an id", key, t.ID)
		}
	}
	return r, nil
}
