package httpproxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestABodyIsReadAgainAsLongAsItIsSmall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size, readFirst int
		again           bool
	}{
		{0, 0, true}, {100, 0, true}, {100, 50, true}, {100, 100, true},
		{maxReplay, maxReplay, true}, {maxReplay + 1, maxReplay, true}, {maxReplay + 1, maxReplay + 1, false}, {10 * maxReplay, 5 * maxReplay, false},
	} {
		text := bytes.Repeat([]byte("x1y2"), c.size/4+1)[:c.size]
		in := &http.Request{Trailer: http.Header{"X-Sum": {"late"}}}
		b := newReplayBody(in, bytes.NewReader(text))
		first := b.from(http.Header{})
		if _, err := io.ReadFull(first, make([]byte, c.readFirst)); err != nil {
			t.Fatal(err)
		}
		trailer := http.Header{"X-Sum": nil}
		second := b.from(trailer)
		if (second != nil) != c.again {
			t.Errorf("%d of %d bytes read: again %v", c.readFirst, c.size, second != nil)
		}
		if second == nil {
			continue
		}
		got, err := io.ReadAll(second)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d of %d bytes read: %d bytes again, %v", c.readFirst, c.size, len(got), err)
		}
		if trailer.Get("X-Sum") != "late" {
			t.Errorf("trailer %v", trailer)
		}
		if n, err := first.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("the first reader reads on")
		}
	}
}

func TestACommittedBodyIsNotReadAgain(t *testing.T) {
	t.Parallel()
	b := newReplayBody(&http.Request{}, strings.NewReader("abc"))
	r := b.from(http.Header{})
	_, _ = io.ReadFull(r, make([]byte, 2))
	b.commit()
	if b.from(http.Header{}) != nil {
		t.Error("it can be read again")
	}
	if rest, err := io.ReadAll(r); string(rest) != "c" || err != nil {
		t.Errorf("the rest is %q, %v", rest, err)
	}
}

func TestAnErrorOfTheVisitorIsTold(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	b := newReplayBody(&http.Request{}, io.MultiReader(strings.NewReader("ab"), failing{gone}))
	_, err := io.ReadAll(b.from(http.Header{}))
	var visitors *bodyError
	if !errors.As(err, &visitors) || !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	got, err := io.ReadAll(b.from(http.Header{}))
	if string(got) != "ab" || !errors.Is(err, gone) {
		t.Errorf("again: %q, %v", got, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestRetriesAreAShare(t *testing.T) {
	t.Parallel()
	r := newRetries()
	spent := 0
	for range 1000 {
		r.request("h")
		if r.spend("h") {
			spent++
		}
	}
	// 100 for the requests, 10 at the start, 10 for each second that this took.
	if spent < 100 || spent > 200 {
		t.Errorf("%d retries of 1000 requests", spent)
	}
	if !r.spend("other") {
		t.Error("another endpoint pays for it")
	}
}

func TestSchemesThatKnowAConnection(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"NTLM": true, "ntlm TlRM": true, "Negotiate": true, "Basic realm=\"NTLM\"": false, "Bearer x": false,
		"": false, "Basic realm=\"a\", NTLM": true, "Digest realm=x, nonce=y, Negotiate abc": true, "NTLMx": false,
	} {
		if got := authenticatesConnection([]string{value}); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}
