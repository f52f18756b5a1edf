package etcdstore

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/dialback/dialback/internal/principal"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

// recordVersion is that of every record. Fields may be added without raising it:
// they are kept when an older replica changes the record. It rises when an older
// replica would misread one.
const recordVersion = 1

type header struct {
	Version int `json:"version"`
}

type tokenRecord struct {
	header
	AccountID     string    `json:"account_id"`
	Kind          string    `json:"kind,omitempty"` // none: an authtoken
	Role          string    `json:"role,omitempty"` // none: agent
	Subject       string    `json:"subject,omitempty"`
	Description   string    `json:"description,omitempty"`
	Grants        []string  `json:"grants,omitempty"`
	Hash          []byte    `json:"sha256"`
	Previous      []byte    `json:"previous_sha256,omitempty"`
	PreviousUntil time.Time `json:"previous_expire_time,omitzero"`
	Created       time.Time `json:"create_time"`
	Expires       time.Time `json:"expire_time,omitzero"`
	Revoked       time.Time `json:"revoke_time,omitzero"`
	Lapsed        bool      `json:"lapsed,omitempty"`
}

type accountRecord struct {
	header
	DisplayName    string    `json:"display_name,omitempty"`
	Disabled       bool      `json:"disabled,omitempty"`
	Deleting       bool      `json:"deleting,omitempty"`
	MaxAgents      uint32    `json:"max_agents,omitempty"`
	MaxEndpoints   uint32    `json:"max_endpoints,omitempty"`
	MaxConnections uint32    `json:"max_connections,omitempty"`
	Created        time.Time `json:"create_time"`
}

type agentRecord struct {
	header
	AccountID  string    `json:"account_id"`
	ResumeHash []byte    `json:"resume_sha256"`
	Created    time.Time `json:"create_time"`
	Seen       time.Time `json:"seen_time,omitzero"`
}

type eventRecord struct {
	header
	Time      time.Time         `json:"time"`
	Action    string            `json:"action"`
	Kind      string            `json:"kind"`
	Name      string            `json:"name"`
	AccountID string            `json:"account_id"`
	Actor     string            `json:"actor"`
	Address   string            `json:"address,omitempty"`
	Details   map[string]string `json:"details,omitempty"`
}

type liveRecord struct {
	header
	Agents map[string]liveAgent `json:"agents"`
}

type liveAgent struct {
	Since time.Time            `json:"since"`
	Seen  map[string]time.Time `json:"seen"`
}

// The fields of records that are changed.
var (
	tokenFields   = fieldsOf[tokenRecord]()
	accountFields = fieldsOf[accountRecord]()
	agentFields   = fieldsOf[agentRecord]()
)

// fieldsOf returns the JSON names of a record's own fields.
func fieldsOf[T any]() []string {
	var names []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

type keysRecord struct {
	header
	SigningSeed []byte    `json:"signing_seed"` // Ed25519
	TraceMAC    []byte    `json:"trace_mac"`
	Created     time.Time `json:"create_time"`
}

func encodeToken(t identity.Token) ([]byte, error) {
	r := tokenRecord{
		header: header{recordVersion}, AccountID: t.AccountID, Kind: string(t.Kind), Subject: t.Subject,
		Description: t.Description, Grants: t.Grants, Hash: t.Hash[:], PreviousUntil: t.PreviousUntil,
		Created: t.Created, Expires: t.Expires, Revoked: t.Revoked, Lapsed: t.Lapsed,
	}
	if t.Role != principal.Agent {
		r.Role = t.Role.String()
	}
	if !t.PreviousUntil.IsZero() {
		r.Previous = t.Previous[:]
	}
	return json.Marshal(r)
}

func decodeToken(id string, value []byte, revision int64) (identity.Token, error) {
	r, err := decode[tokenRecord](value)
	if err != nil {
		return identity.Token{}, fmt.Errorf("record of token %s: %w", id, err)
	}
	t := identity.Token{
		ID: id, AccountID: r.AccountID, Kind: identity.Kind(r.Kind), Role: principal.Agent, Subject: r.Subject,
		Description: r.Description, Grants: r.Grants, PreviousUntil: r.PreviousUntil,
		Created: r.Created, Expires: r.Expires, Revoked: r.Revoked, Lapsed: r.Lapsed, Revision: revision,
	}
	if t.Hash, err = digest(r.Hash); err == nil && len(r.Previous) > 0 {
		t.Previous, err = digest(r.Previous)
	}
	if err == nil && r.Role != "" {
		t.Role, err = principal.ParseRole(r.Role)
	}
	if err != nil {
		return identity.Token{}, fmt.Errorf("record of token %s: %w", id, err)
	}
	return t, nil
}

func encodeAccount(a identity.Account) ([]byte, error) {
	return json.Marshal(accountRecord{
		header: header{recordVersion}, DisplayName: a.DisplayName, Disabled: a.Disabled, Deleting: a.Deleting,
		MaxAgents: a.Quotas.MaxAgents, MaxEndpoints: a.Quotas.MaxEndpoints, MaxConnections: a.Quotas.MaxConnections,
		Created: a.Created,
	})
}

func decodeAccount(id string, value []byte, revision int64) (identity.Account, error) {
	r, err := decode[accountRecord](value)
	if err != nil {
		return identity.Account{}, fmt.Errorf("record of account %s: %w", id, err)
	}
	return identity.Account{
		ID: id, DisplayName: r.DisplayName, Disabled: r.Disabled, Deleting: r.Deleting,
		Quotas:  identity.Quotas{MaxAgents: r.MaxAgents, MaxEndpoints: r.MaxEndpoints, MaxConnections: r.MaxConnections},
		Created: r.Created, Revision: revision,
	}, nil
}

func decodeEvent(kv *mvccpb.KeyValue) (identity.Event, error) {
	r, err := decode[eventRecord](kv.Value)
	if err != nil {
		return identity.Event{}, fmt.Errorf("event %s: %w", kv.Key, err)
	}
	return identity.Event{
		Revision: kv.ModRevision, Time: r.Time, Action: identity.Action(r.Action), Kind: r.Kind, Name: r.Name,
		Account: r.AccountID, Actor: r.Actor, Address: r.Address, Details: r.Details,
	}, nil
}

func encodeLive(live identity.Live) ([]byte, error) {
	r := liveRecord{header: header{recordVersion}, Agents: make(map[string]liveAgent, len(live))}
	for id, a := range live {
		r.Agents[id] = liveAgent(a)
	}
	return json.Marshal(r)
}

func decodeLive(value []byte) (identity.Live, error) {
	r, err := decode[liveRecord](value)
	if err != nil {
		return nil, fmt.Errorf("record of live agents: %w", err)
	}
	live := make(identity.Live, len(r.Agents))
	for id, a := range r.Agents {
		live[id] = identity.LiveAgent(a)
	}
	return live, nil
}

func encodeAgent(a identity.Agent) ([]byte, error) {
	return json.Marshal(agentRecord{
		header: header{recordVersion}, AccountID: a.AccountID, ResumeHash: a.ResumeHash[:], Created: a.Created, Seen: a.Seen,
	})
}

func decodeAgent(id string, value []byte) (identity.Agent, error) {
	r, err := decode[agentRecord](value)
	if err != nil {
		return identity.Agent{}, fmt.Errorf("record of agent %s: %w", id, err)
	}
	hash, err := digest(r.ResumeHash)
	if err != nil {
		return identity.Agent{}, fmt.Errorf("record of agent %s: %w", id, err)
	}
	return identity.Agent{ID: id, AccountID: r.AccountID, ResumeHash: hash, Created: r.Created, Seen: r.Seen}, nil
}

func encodeKeys(k identity.Keys) ([]byte, error) {
	return json.Marshal(keysRecord{
		header: header{recordVersion}, SigningSeed: k.Signing.Seed(), TraceMAC: k.TraceMAC[:], Created: k.Created,
	})
}

// decodeKeys never quotes the record: it is secret.
func decodeKeys(value []byte) (identity.Keys, error) {
	r, err := decode[keysRecord](value)
	if err != nil {
		return identity.Keys{}, errors.New("the record of the keys cannot be read")
	}
	k := identity.Keys{Created: r.Created}
	if len(r.SigningSeed) != ed25519.SeedSize || len(r.TraceMAC) != len(k.TraceMAC) {
		return identity.Keys{}, errors.New("the record of the keys has keys of the wrong size")
	}
	k.Signing = ed25519.NewKeyFromSeed(r.SigningSeed)
	copy(k.TraceMAC[:], r.TraceMAC)
	return k, nil
}

// decode reads a record of this version, and skips fields that a newer one added.
func decode[T any](value []byte) (T, error) {
	var record T
	var head header
	if err := json.Unmarshal(value, &head); err != nil {
		return record, err
	}
	if head.Version != recordVersion {
		return record, fmt.Errorf("it has version %d, this replica reads %d; use a newer release of auth", head.Version, recordVersion)
	}
	err := json.Unmarshal(value, &record)
	return record, err
}

// merge writes the fields of changed over those of stored, drops those of our own
// fields that changed does not have, and keeps all others: a newer replica may
// have put them there, and mean them.
func merge(stored, changed []byte, own []string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(stored, &fields); err != nil {
		return nil, err
	}
	for _, name := range own {
		delete(fields, name)
	}
	if err := json.Unmarshal(changed, &fields); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

func digest(b []byte) ([sha256.Size]byte, error) {
	if len(b) != sha256.Size {
		return [sha256.Size]byte{}, fmt.Errorf("its hash has %d bytes, want %d", len(b), sha256.Size)
	}
	return [sha256.Size]byte(b), nil
}
