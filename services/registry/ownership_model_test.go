package registry_test

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// deed is what a client did to a name.
type deed int

const (
	bindName deed = iota
	releaseName
	lookUpName
)

// call is one operation on one name, by one process of one agent.
type call struct {
	deed     deed
	name     string
	agent    string
	instance string
}

// answer is what the registry said. An unknown one may have had its effect, at any
// time from the call on, or none.
type answer struct {
	unknown    bool
	refused    bool // the name is another account's
	generation uint64
	agent      string // of a lookup; empty: nobody has the name
	instance   string
}

// ownership is what a sequential registry knows of one name.
type ownership struct {
	agent, instance string // empty: the name is free
	generation      uint64 // of the last bind that is known
	guessed         bool   // the owner's generation is some higher one: its bind was not answered
}

// ownershipModel says what a name's history may be: one owner at a time, who
// loses it by a release of its own alone; the same agent's next process takes it
// over under a higher generation; no generation is given twice.
var ownershipModel = porcupine.NondeterministicModel{
	Partition: byName,
	Init:      func() []any { return []any{ownership{}} },
	Step: func(state, input, output any) []any {
		return step(state.(ownership), input.(call), output.(answer))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

func byName(history []porcupine.Operation) [][]porcupine.Operation {
	names := map[string][]porcupine.Operation{}
	for _, o := range history {
		name := o.Input.(call).name
		names[name] = append(names[name], o)
	}
	var parts [][]porcupine.Operation
	for _, part := range names {
		parts = append(parts, part)
	}
	return parts
}

func step(s ownership, c call, a answer) []any {
	switch c.deed {
	case bindName:
		return stepBind(s, c, a)
	case releaseName:
		return stepRelease(s, c, a)
	default:
		return stepLookup(s, a)
	}
}

func stepBind(s ownership, c call, a answer) []any {
	mine := s.agent == c.agent && s.instance == c.instance
	foreign := s.agent != "" && s.agent != c.agent
	switch {
	case a.unknown && (mine || foreign):
		return []any{s}
	case a.unknown:
		return []any{s, ownership{agent: c.agent, instance: c.instance, generation: s.generation, guessed: true}}
	case a.refused && foreign:
		return []any{s}
	case a.refused || foreign:
		return nil
	case mine && !s.guessed && a.generation != s.generation:
		return nil // a repeat is the same claim
	case (!mine || s.guessed) && a.generation <= s.generation:
		return nil
	}
	return []any{ownership{agent: c.agent, instance: c.instance, generation: a.generation}}
}

func stepRelease(s ownership, c call, a answer) []any {
	if s.agent != c.agent || s.instance != c.instance {
		return []any{s} // a former process's release changes nothing
	}
	free := ownership{generation: s.generation}
	if a.unknown {
		return []any{s, free}
	}
	return []any{free}
}

func stepLookup(s ownership, a answer) []any {
	switch {
	case a.unknown:
		return []any{s}
	case a.agent != s.agent || a.instance != s.instance:
		return nil
	case s.agent != "" && !s.guessed && a.generation != s.generation:
		return nil
	case s.guessed && a.generation <= s.generation:
		return nil
	}
	if s.agent != "" {
		s.generation, s.guessed = a.generation, false
	}
	return []any{s}
}
