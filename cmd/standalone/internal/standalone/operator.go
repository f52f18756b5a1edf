package standalone

import (
	"context"
	"fmt"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/ctlconfig"
	"github.com/dialback/dialback/internal/restclient"
	"github.com/dialback/dialback/internal/secret"
)

// contextName is that of the context that dialbackd writes for its user.
const contextName = "local"

// introduceOperator makes the REST at a URL known to dialbackctl: an
// administrator's API key goes into a context. A context of that name that leads
// elsewhere is never changed, and neither is a key that is good here. What is worth
// telling the user is returned.
func introduceOperator(ctx context.Context, tokens authv1.TokenServiceClient, path, rest string) (note string, err error) {
	config, err := ctlconfig.Load(path)
	if err != nil {
		return "", fmt.Errorf("dialbackctl's contexts are left alone: %w", err)
	}
	known, ok := config.Contexts[contextName]
	switch {
	case ok && known.Server != rest:
		return fmt.Sprintf("%s has a context %q for %s and is left alone", path, contextName, known.Server), nil
	case ok && accepted(ctx, known):
		return "", nil
	}
	made, err := tokens.CreateToken(ctx, &authv1.CreateTokenRequest{
		Kind: authv1.TokenKind_TOKEN_KIND_API, Role: authv1.Role_ROLE_ADMIN,
		Description: "made by dialbackd for the user who started it",
	})
	if err != nil {
		return "", fmt.Errorf("make an API key: %w", err)
	}
	config.Set(contextName, ctlconfig.Context{Server: rest, Key: secret.String(made.GetApiKey())})
	if err := config.Save(path); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s has the context %q now", path, contextName), nil
}

// accepted holds if the key of a context is good at its server, which is this one.
func accepted(ctx context.Context, known ctlconfig.Context) bool {
	client, err := restclient.New(restclient.Config{Server: known.Server, Key: known.Key, CAFile: known.CAFile})
	if err != nil {
		return false
	}
	defer client.Close()
	return client.Call(ctx, restclient.Request{Method: "GET", Path: "/v1/tokens"}, nil, nil) == nil
}
