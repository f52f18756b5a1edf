package etcdstore

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

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
	AccountID   string    `json:"account_id"`
	Kind        string    `json:"kind,omitempty"` // none: an authtoken
	Role        string    `json:"role,omitempty"` // none: agent
	Subject     string    `json:"subject,omitempty"`
	Description string    `json:"description,omitempty"`
	Grants      []string  `json:"grants,omitempty"`
	Hash        []byte    `json:"sha256"`
	Created     time.Time `json:"create_time"`
	Expires     time.Time `json:"expire_time,omitzero"`
	Revoked     time.Time `json:"revoke_time,omitzero"`
	Lapsed      bool      `json:"lapsed,omitempty"`
}

type accountRecord struct {
	header
	Created time.Time `json:"create_time"`
}

type agentRecord struct {
	header
	AccountID  string    `json:"account_id"`
	ResumeHash []byte    `json:"resume_sha256"`
	Created    time.Time `json:"create_time"`
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
		Description: t.Description, Grants: t.Grants, Hash: t.Hash[:],
		Created: t.Created, Expires: t.Expires, Revoked: t.Revoked, Lapsed: t.Lapsed,
	}
	if t.Role != principal.Agent {
		r.Role = t.Role.String()
	}
	return json.Marshal(r)
}

func decodeToken(id string, value []byte) (identity.Token, error) {
	r, err := decode[tokenRecord](value)
	if err != nil {
		return identity.Token{}, fmt.Errorf("record of token %s: %w", id, err)
	}
	hash, err := digest(r.Hash)
	if err != nil {
		return identity.Token{}, fmt.Errorf("record of token %s: %w", id, err)
	}
	role := principal.Agent
	if r.Role != "" {
		if role, err = principal.ParseRole(r.Role); err != nil {
			return identity.Token{}, fmt.Errorf("record of token %s: %w", id, err)
		}
	}
	return identity.Token{
		ID: id, AccountID: r.AccountID, Kind: identity.Kind(r.Kind), Role: role, Subject: r.Subject,
		Description: r.Description, Grants: r.Grants, Hash: hash,
		Created: r.Created, Expires: r.Expires, Revoked: r.Revoked, Lapsed: r.Lapsed,
	}, nil
}

func encodeAgent(a identity.Agent) ([]byte, error) {
	return json.Marshal(agentRecord{
		header: header{recordVersion}, AccountID: a.AccountID, ResumeHash: a.ResumeHash[:], Created: a.Created,
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
	return identity.Agent{ID: id, AccountID: r.AccountID, ResumeHash: hash, Created: r.Created}, nil
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

// merge writes the fields of changed over those of stored, and keeps the others:
// a newer replica may have put them there, and mean them.
func merge(stored, changed []byte) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(stored, &fields); err != nil {
		return nil, err
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
