package identity

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dialback/dialback/internal/grant"
)

const (
	maxAccountID = 63

	defaultPage = 100
	maxPage     = 1000
)

// badID is said of a token's id in a request.
const badID = "the id of a token is 1 to 63 lower-case letters, digits and hyphens"

var errPageToken = invalid("page_token", "use the next_page_token of an earlier answer")

func checkAccountID(field, id string) error {
	if !isSlug(id, maxAccountID) {
		return invalid(field, "use 1 to 63 lower-case letters, digits and hyphens")
	}
	return nil
}

func checkDescription(s string) error { return checkText("description", s, maxDescription) }

// checkText keeps what a terminal would obey out of lists.
func checkText(field, s string, limit int) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > limit || strings.ContainsFunc(s, notPrintable) {
		return invalid(field, fmt.Sprintf("use at most %d printable characters", limit))
	}
	return nil
}

func notPrintable(r rune) bool { return !unicode.IsPrint(r) }

func canonicalGrants(texts []string) ([]string, error) {
	if len(texts) > maxGrants {
		return nil, invalid("grants", fmt.Sprintf("give at most %d", maxGrants))
	}
	grants := make([]string, 0, len(texts))
	for i, text := range texts {
		g, err := grant.Parse(text)
		if err != nil {
			return nil, invalid(fmt.Sprintf("grants[%d]", i), err.Error())
		}
		grants = append(grants, g.String())
	}
	return grants, nil
}

// pageSize returns how many things a page has that was asked for with size.
func pageSize(size int) (int, error) {
	switch {
	case size < 0 || size > maxPage:
		return 0, invalid("page_size", fmt.Sprintf("use at most %d", maxPage))
	case size == 0:
		return defaultPage, nil
	}
	return size, nil
}
