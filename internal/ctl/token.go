package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/tlsconf"
)

// callTimeout bounds a command's calls, all together.
const callTimeout = 30 * time.Second

// listPage is how many tokens one call lists.
const listPage = 500

type tokenCommands struct {
	Create tokenCreate `cmd:"" help:"Make an authtoken. It is shown this once."`
	List   tokenList   `cmd:"" help:"List authtokens, revoked and expired ones too."`
	Revoke tokenRevoke `cmd:"" help:"Revoke an authtoken: all that lives by it ends within a second."`
}

// call runs f with a client of auth's token service.
func (e *env) call(ctx context.Context, f func(context.Context, authv1.TokenServiceClient) error) error {
	conn, err := e.connection.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // every answer is in
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f(ctx, authv1.NewTokenServiceClient(conn))
}

type tokenCreate struct {
	Account     string        `env:"-" default:"default" help:"Whose token it is; an account begins with its first one."`
	Description string        `env:"-" help:"What it is for, as the list shows it."`
	Grant       []string      `env:"-" sep:"none" placeholder:"GRANT" help:"What it may do, such as bind:*.dev.example.com or bind:tcp:20000-20100; repeat for several. None: everything."`
	APIRole     string        `name:"api-role" env:"-" enum:",read-only,operator,admin" default:"" help:"Make an API key with this role (read-only, operator, admin) instead of an authtoken."`
	ValidFor    time.Duration `env:"-" placeholder:"DURATION" help:"How long it is valid, such as 720h. None: until it is revoked."`
	Output      string        `env:"-" short:"o" enum:"text,json" default:"text" help:"text or json."`
}

var apiRoles = map[string]authv1.Role{
	"read-only": authv1.Role_ROLE_READ_ONLY, "operator": authv1.Role_ROLE_OPERATOR, "admin": authv1.Role_ROLE_ADMIN,
}

// Validate is asked before anything is called.
func (c *tokenCreate) Validate() error {
	if c.ValidFor < 0 {
		return fmt.Errorf("--valid-for %v: give a time that is still to come", c.ValidFor)
	}
	return nil
}

// Run makes a token. Only the line to paste, or the JSON, goes to stdout.
func (c *tokenCreate) Run(ctx context.Context, e *env) error {
	req := &authv1.CreateTokenRequest{AccountId: c.Account, Description: c.Description, Grants: c.Grant}
	if c.APIRole != "" {
		req.Kind, req.Role = authv1.TokenKind_TOKEN_KIND_API, apiRoles[c.APIRole]
	}
	if c.ValidFor > 0 {
		req.ValidFor = durationpb.New(c.ValidFor)
	}
	return e.call(ctx, func(ctx context.Context, client authv1.TokenServiceClient) error {
		resp, err := client.CreateToken(ctx, req)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return writeJSON(e.stdout, newCreated(resp))
		}
		if c.APIRole != "" {
			e.note("API key %s of account %s, %s. It is shown this once:", resp.GetToken().GetId(), resp.GetToken().GetAccountId(), c.APIRole)
			_, err = fmt.Fprintln(e.stdout, resp.GetApiKey())
			return err
		}
		e.note("Token %s of account %s, %s.", resp.GetToken().GetId(), resp.GetToken().GetAccountId(), state(resp.GetToken(), e.now()))
		e.note("This is shown once. Run it where the agent is to run:")
		_, err = fmt.Fprintln(e.stdout, addServer(resp))
		return err
	})
}

// addServer returns the command that tells an agent of the server and the token.
// All of its words are free of what a shell would read.
func addServer(resp *authv1.CreateTokenResponse) string {
	words := []string{"dialback", "config", "add-server", resp.GetServer()}
	for _, pin := range pins(resp) {
		words = append(words, "--pin", pin)
	}
	return strings.Join(append(words, "--authtoken", resp.GetAuthtoken()), " ")
}

func pins(resp *authv1.CreateTokenResponse) []string {
	var texts []string
	for _, raw := range resp.GetCaPins() {
		var pin tlsconf.Pin
		copy(pin[:], raw)
		texts = append(texts, pin.String())
	}
	return texts
}

type tokenList struct {
	Account string `env:"-" help:"Only this account's."`
	Output  string `env:"-" short:"o" enum:"text,json" default:"text" help:"text or json."`
}

// Run lists tokens, the newest last.
func (c *tokenList) Run(ctx context.Context, e *env) error {
	return e.call(ctx, func(ctx context.Context, client authv1.TokenServiceClient) error {
		tokens, err := listAll(ctx, client, c.Account)
		if err != nil {
			return err
		}
		slices.SortStableFunc(tokens, func(a, b *authv1.Token) int {
			return a.GetCreateTime().AsTime().Compare(b.GetCreateTime().AsTime())
		})
		switch {
		case c.Output == "json":
			return writeJSON(e.stdout, newTokens(tokens))
		case len(tokens) == 0:
			e.note("There are no authtokens; make one with: dialbackctl token create")
			return nil
		default:
			return writeTable(e.stdout, tokens, e.now())
		}
	})
}

func listAll(ctx context.Context, client authv1.TokenServiceClient, account string) ([]*authv1.Token, error) {
	var all []*authv1.Token
	for page := ""; ; {
		resp, err := client.ListTokens(ctx, &authv1.ListTokensRequest{AccountId: account, PageSize: listPage, PageToken: page})
		if err != nil {
			return nil, err
		}
		all = append(all, resp.GetTokens()...)
		if page = resp.GetNextPageToken(); page == "" {
			return all, nil
		}
	}
}

type tokenRevoke struct {
	ID string `arg:"" name:"id" help:"The token's id, as the list shows it: the part between dbt_ and the second underscore."`
}

// Run revokes a token. Somebody who pastes a whole authtoken means its id.
func (c *tokenRevoke) Run(ctx context.Context, e *env) error {
	id := c.ID
	if rest, ok := strings.CutPrefix(id, "dbt_"); ok {
		id, _, _ = strings.Cut(rest, "_")
	}
	return e.call(ctx, func(ctx context.Context, client authv1.TokenServiceClient) error {
		resp, err := client.RevokeToken(ctx, &authv1.RevokeTokenRequest{Id: id})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "Token %s: %s.\n", resp.GetToken().GetId(), state(resp.GetToken(), e.now()))
		return err
	})
}
