package openid

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// Decide opens the provider's page for codes as a browser does, enters one, logs in
// and presses the button: "allowed" or "denied".
func Decide(t testing.TB, page, code, person, button string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	at, err := url.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	shows(t, "Device authorization")(browser.Get(at.String()))
	shows(t, `name="user_code" value="`+code+`"`)(browser.PostForm(at.String(), url.Values{"user_code": {code}}))
	shows(t, "Welcome back "+person)(browser.PostForm(at.JoinPath("login").String(),
		url.Values{"user_code": {code}, "username": {person}, "password": {password}}))
	shows(t, "Device authorization "+button)(browser.Get(at.JoinPath("confirm").String() + "?action=" + button))
}

// shows fails the test unless a page has this text.
func shows(t testing.TB, text string) func(*http.Response, error) {
	t.Helper()
	return func(res *http.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), text) {
			t.Fatalf("%s: %s, %v, want %q:\n%s", res.Request.URL, res.Status, err, text, body)
		}
	}
}
