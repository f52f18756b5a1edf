package gateway

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/dialback/dialback/api"
)

// resource is a path of the document, and the methods that it has.
type resource struct {
	path    *regexp.Regexp
	literal int // characters that are no parameter's
	methods []string
}

var parameter = regexp.MustCompile(`\\\{[^}]*\\\}`)

// resources are read from the document that is served, the most specific first.
var resources = sync.OnceValue(func() []resource {
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(api.OpenAPI, &document); err != nil {
		panic(err) // it is part of this program
	}
	var list []resource
	for template, operations := range document.Paths {
		quoted := regexp.QuoteMeta(template)
		r := resource{
			path:    regexp.MustCompile("^" + parameter.ReplaceAllString(quoted, "[^/]+") + "$"),
			literal: len(parameter.ReplaceAllString(quoted, "")),
		}
		for method := range operations {
			r.methods = append(r.methods, strings.ToUpper(method))
		}
		slices.Sort(r.methods)
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b resource) int { return cmp.Compare(b.literal, a.literal) })
	return list
})

// allowed are the methods of a path, as the header Allow has them; "": none.
func allowed(path string) string {
	for _, r := range resources() {
		if r.path.MatchString(path) {
			return strings.Join(r.methods, ", ")
		}
	}
	return ""
}
