package agent

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/secret"
)

const (
	hashIterations = 100_000
	hashLen        = 32
	saltLen        = 16
	maxUsers       = 16
	maxUsername    = 128 // bytes

	// These name the options to those who must not ignore them.
	criticalBasicAuth = "basic_auth"
	criticalPooling   = "pooling"
)

// Credential is a user whom visitors can be.
type Credential struct {
	Username string
	Password secret.String
}

// options is what a tunnel asks of frontdoors. It is made once a process: the
// salt is drawn here, and the same tunnel must not come with other options at
// each reconnect.
type options struct {
	bytes    []byte
	critical []string
}

func newOptions(users []Credential) (options, error) {
	if len(users) == 0 {
		return options{}, nil
	}
	if len(users) > maxUsers {
		return options{}, fmt.Errorf("%d users for basic auth, at most %d", len(users), maxUsers)
	}
	m := &agentv1.EndpointOptions{}
	for _, user := range users {
		hashed, err := user.hash()
		if err != nil {
			return options{}, err
		}
		m.BasicAuth = append(m.BasicAuth, hashed)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return options{bytes: data, critical: []string{criticalBasicAuth}}, err
}

// hash is what leaves this machine in place of the password.
func (c Credential) hash() (*agentv1.BasicAuth, error) {
	if c.Username == "" || len(c.Username) > maxUsername || strings.Contains(c.Username, ":") || !utf8.ValidString(c.Username) {
		return nil, fmt.Errorf("%q is no user for basic auth: 1 to %d bytes of text without colon", c.Username, maxUsername)
	}
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	hash, err := pbkdf2.Key(sha256.New, c.Password.Reveal(), salt, hashIterations, hashLen)
	if err != nil {
		return nil, err
	}
	return &agentv1.BasicAuth{Username: c.Username, Salt: salt, Hash: hash}, nil
}
