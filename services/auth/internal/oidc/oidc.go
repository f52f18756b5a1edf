// Package oidc checks what an OpenID provider says of people.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/services/auth/internal/identity"
)

const (
	// callTimeout bounds a call to the provider.
	callTimeout = 10 * time.Second
	// retryDiscovery is the least time between two attempts to reach it.
	retryDiscovery = time.Second
)

// Config says whom to trust, and for what.
type Config struct {
	Issuer, ClientID string
	// RoleClaim has the values that roles are given by: a text or a list of texts.
	RoleClaim string
}

// Provider is an OpenID provider. It is asked for its keys when the first login
// comes, so that auth starts without it.
type Provider struct {
	config Config
	client *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	tried    time.Time
}

// New returns a provider that is called with client.
func New(c Config, client *http.Client) *Provider {
	bounded := *client
	bounded.Timeout = callTimeout
	return &Provider{config: c, client: &bounded}
}

// Verify checks signature, issuer, audience and time.
func (p *Provider) Verify(ctx context.Context, idToken secret.String) (identity.Claims, error) {
	verifier, err := p.discover()
	if err != nil {
		return identity.Claims{}, identity.ErrUnavailable.WithMessage("the OpenID provider cannot be reached; try again").WithCause(err)
	}
	token, err := verifier.Verify(oidc.ClientContext(ctx, p.client), idToken.Reveal())
	if err != nil {
		return identity.Claims{}, identity.ErrLoginRefused.WithCause(errors.New("the ID token does not hold")).WithMetadata("problem", problem(err))
	}
	var all map[string]any
	if err := token.Claims(&all); err != nil {
		return identity.Claims{}, identity.ErrLoginRefused.WithCause(err)
	}
	return identity.Claims{Subject: token.Subject, Values: texts(all[p.config.RoleClaim])}, nil
}

// problem says what is wrong without the token's words.
func problem(err error) string {
	var expired *oidc.TokenExpiredError
	if errors.As(err, &expired) {
		return "expired"
	}
	return "not valid"
}

// discover reads the provider's document once. The keys that it names are read
// when they are needed, and again when they have changed.
func (p *Provider) discover() (*oidc.IDTokenVerifier, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.verifier != nil {
		return p.verifier, nil
	}
	if time.Since(p.tried) < retryDiscovery {
		return nil, errors.New("it did not answer a moment ago")
	}
	p.tried = time.Now()
	// What is found out outlives the call that has asked.
	ctx := oidc.ClientContext(context.Background(), p.client)
	provider, err := oidc.NewProvider(ctx, p.config.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discover %s: %w", p.config.Issuer, err)
	}
	p.verifier = provider.VerifierContext(ctx, &oidc.Config{ClientID: p.config.ClientID})
	return p.verifier, nil
}

// texts takes a claim that is a text or a list; what is no text gives nothing.
func texts(claim any) []string {
	switch claim := claim.(type) {
	case string:
		return []string{claim}
	case []any:
		var list []string
		for _, one := range claim {
			if text, ok := one.(string); ok {
				list = append(list, text)
			}
		}
		return list
	}
	return nil
}
