package standalone

import (
	"context"
	"fmt"
	"slices"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/agentconfig"
	"github.com/dialback/dialback/internal/secret"
	"github.com/dialback/dialback/internal/tlsconf"
)

// introduce makes the server at address known to an agent: an authtoken and the
// pin go into its configuration file. An entry that is there already is never
// changed: it may be another server's. What is worth telling the user is
// returned.
func introduce(ctx context.Context, tokens authv1.TokenServiceClient, path, address, description string, pin tlsconf.Pin) (server agentconfig.Server, note string, err error) {
	config, err := agentconfig.Load(path)
	if err != nil {
		return server, "", fmt.Errorf("the agent's configuration is left alone: %w", err)
	}
	if known, ok := config.Servers[address]; ok {
		if slices.Contains(known.Pins, pin.String()) {
			return known, "", nil
		}
		return known, fmt.Sprintf("%s has another server at %s and is left alone; `dialbackctl token create` prints what adds this one", path, address), nil
	}
	token, err := tokens.CreateToken(ctx, &authv1.CreateTokenRequest{Description: description})
	if err != nil {
		return server, "", fmt.Errorf("make a token: %w", err)
	}
	server = agentconfig.Server{Authtoken: secret.String(token.GetAuthtoken()), Pins: []string{pin.String()}}
	if err := config.AddServer(address, server, false); err != nil {
		return server, "", err
	}
	if err := config.Save(path); err != nil {
		return server, "", err
	}
	return server, path + " knows this server now", nil
}
