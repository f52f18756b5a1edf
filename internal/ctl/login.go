package ctl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/ctlconfig"
	"github.com/dialback/dialback/internal/restclient"
	"github.com/dialback/dialback/internal/secret"
)

const (
	// providerTimeout bounds one call to the OpenID provider.
	providerTimeout = 15 * time.Second
	// loginTimeout is how long a person may take, if the provider sets no limit.
	loginTimeout = 15 * time.Minute
	// maxDiscovery bounds a provider's document, in bytes.
	maxDiscovery = 1 << 20
)

type loginCommand struct {
	URL    string `name:"url" env:"-" help:"Base URL of REST, such as https://api.example.com; none: the context's."`
	CAFile string `name:"ca-file" env:"-" type:"path" placeholder:"FILE" help:"Certificates that the server's is checked with, PEM; none: the context's, or the system's."`
	Name   string `env:"-" help:"Of the context to write; none: the one in use, or the server's name."`
}

// Run logs a person in at the server's OpenID provider, by a code that is entered
// there in any browser, and writes the key that comes of it into a context.
func (c *loginCommand) Run(ctx context.Context, e *env) error {
	name, one, err := c.context(e)
	if err != nil {
		return err
	}
	client, err := restclient.New(restclient.Config{Server: one.Server, CAFile: one.CAFile})
	if err != nil {
		return err
	}
	defer client.Close()
	idToken, err := e.idToken(ctx, client)
	if err != nil {
		return err
	}
	var in authv1.ExchangeIdTokenResponse
	request := restclient.Request{Method: http.MethodPost, Path: "/v1/login"}
	if err := client.Call(ctx, request, &authv1.ExchangeIdTokenRequest{IdToken: idToken.Reveal()}, &in); err != nil {
		return err
	}
	one.Key = secret.String(in.GetApiKey())
	err = contexts(func(config *ctlconfig.Config) (bool, error) {
		config.Set(name, one)
		config.Current = name
		return true, nil
	})
	if err != nil {
		return err
	}
	role := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(in.GetRole().String(), "ROLE_")), "_", "-")
	e.note("Logged in as %s: %s of account %s, for %s. Context %s is the current one now.",
		in.GetSubject(), role, in.GetAccountId(), in.GetValidFor().AsDuration(), name)
	return nil
}

// context returns where to log in, and under which name that is kept.
func (c *loginCommand) context(e *env) (name string, one ctlconfig.Context, err error) {
	err = contexts(func(config *ctlconfig.Config) (bool, error) {
		name = cmp.Or(c.Name, e.context, config.Current)
		if c.URL != "" && c.Name == "" {
			name = e.context
		}
		one = config.Contexts[name]
		return false, nil
	})
	one.Server, one.CAFile = cmp.Or(c.URL, one.Server), cmp.Or(c.CAFile, one.CAFile)
	if err == nil && one.Server == "" {
		err = errors.New("no context says where REST is: name it with --url, such as https://api.example.com")
	}
	if name == "" {
		if u, parseErr := url.Parse(one.Server); parseErr == nil {
			name = u.Hostname()
		}
	}
	return name, one, err
}

// idToken has a person log in and returns what the provider says of him.
func (e *env) idToken(ctx context.Context, client *restclient.Client) (secret.String, error) {
	var where authv1.GetLoginConfigResponse
	if err := client.Call(ctx, restclient.Request{Method: http.MethodGet, Path: "/v1/login"}, nil, &where); err != nil {
		return "", err
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Timeout: providerTimeout})
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	endpoint, err := discover(ctx, where.GetIssuer())
	if err != nil {
		return "", fmt.Errorf("the OpenID provider %s: %w", where.GetIssuer(), err)
	}
	flow := oauth2.Config{ClientID: where.GetClientId(), Endpoint: endpoint, Scopes: where.GetScopes()}
	device, err := flow.DeviceAuth(ctx)
	if err != nil {
		return "", fmt.Errorf("ask the OpenID provider for a code: %w", refusal(err))
	}
	e.note("Open %s and enter the code %s", device.VerificationURI, device.UserCode)
	if device.VerificationURIComplete != "" {
		e.note("or open %s", device.VerificationURIComplete)
	}
	token, err := flow.DeviceAccessToken(ctx, device)
	if err != nil {
		return "", fmt.Errorf("log in: %w", refusal(err))
	}
	idToken, ok := token.Extra("id_token").(string)
	if !ok {
		return "", errors.New("the OpenID provider gave no ID token; is the scope openid allowed for this client?")
	}
	return secret.String(idToken), nil
}

// refusal is the provider's word without the answer that it came in, which may
// have secrets.
func refusal(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return errors.New(cmp.Or(refused.ErrorDescription, refused.ErrorCode, "it answers "+refused.Response.Status))
	}
	return err
}

// discover reads where a provider has the device flow (RFC 8628).
func discover(ctx context.Context, issuer string) (oauth2.Endpoint, error) {
	var found struct {
		Issuer string `json:"issuer"`
		Device string `json:"device_authorization_endpoint"`
		Token  string `json:"token_endpoint"`
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return oauth2.Endpoint{}, err
	}
	client := http.Client{Timeout: providerTimeout}
	response, err := client.Do(request)
	if err != nil {
		return oauth2.Endpoint{}, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return oauth2.Endpoint{}, fmt.Errorf("its configuration is answered with %s", response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxDiscovery)).Decode(&found); err != nil {
		return oauth2.Endpoint{}, fmt.Errorf("its configuration cannot be read: %w", err)
	}
	if found.Issuer != issuer || found.Device == "" || found.Token == "" {
		return oauth2.Endpoint{}, errors.New("it is another one, or has no device flow (RFC 8628)")
	}
	return oauth2.Endpoint{DeviceAuthURL: found.Device, TokenURL: found.Token, AuthStyle: oauth2.AuthStyleInParams}, nil
}
