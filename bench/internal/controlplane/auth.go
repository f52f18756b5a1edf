package controlplane

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	keyID = "bench"
	// signedFor is put in front of what auth signs.
	signedFor = "dialback-assertion-v1\x00"
	// sessionLife is longer than any measurement.
	sessionLife = time.Hour
)

// Agent is who a session is, in auth's word.
type Agent struct {
	Account, ID string
	Instance    []byte // of its process, 16 bytes; nil: a new one with each session
	// MaxEndpoints is the account's limit; 0: it is not counted.
	MaxEndpoints uint32
}

// keyServer is the part of auth that a registry asks for.
type keyServer struct {
	authv1.UnimplementedCredentialServiceServer
	public ed25519.PublicKey
}

func (s keyServer) GetKeys(context.Context, *authv1.GetKeysRequest) (*authv1.GetKeysResponse, error) {
	return &authv1.GetKeysResponse{AssertionKeys: map[string][]byte{keyID: s.public}}, nil
}

// serveKeys answers registries what auth's keys are, and returns where.
func (p *Plane) serveKeys(ctx context.Context) (address string, err error) {
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	cert, err := p.issue(tlsconf.RoleAuth, "a1")
	if err != nil {
		return "", err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p.signer = signer
	p.auth = grpc.NewServer(grpc.Creds(credentials.NewTLS(tlsconf.ServiceServer(*cert, p.ca.Pool()))))
	authv1.RegisterCredentialServiceServer(p.auth, keyServer{public: public})
	go func() { _ = p.auth.Serve(l) }() // ends with Stop
	return l.Addr().String(), nil
}

func (p *Plane) issue(role, name string) (*tls.Certificate, error) {
	return p.ca.Issue(tlsconf.Request{Identity: tlsconf.Identity{Role: role, Name: name}, Client: true, Server: true})
}

// Assert is what auth says of an agent's session at a connector with this name.
func (p *Plane) Assert(a Agent, connector string) (*authv1.SignedAssertion, error) {
	instance := a.Instance
	if instance == nil {
		instance = make([]byte, 16)
		_, _ = rand.Read(instance) // never fails: crypto/rand ends the process instead
	}
	raw, err := proto.Marshal(&authv1.Assertion{
		AccountId: a.Account, TokenId: "0123456789abcdef", AgentId: a.ID, Instance: instance,
		Connector: connector, ExpireTime: timestamppb.New(time.Now().Add(sessionLife)), MaxEndpoints: a.MaxEndpoints,
	})
	if err != nil {
		return nil, err
	}
	return &authv1.SignedAssertion{Assertion: raw, KeyId: keyID, Signature: ed25519.Sign(p.signer, append([]byte(signedFor), raw...))}, nil
}

// RandomHex returns n random bytes as text, for ids.
func RandomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // as above
	return hex.EncodeToString(b)
}
