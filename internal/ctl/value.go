package ctl

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// value returns what a table shows of the field at a path; a path leads through
// messages, and through each of a list of them.
func value(m protoreflect.Message, path string, now time.Time) string {
	name, rest, _ := strings.Cut(path, ".")
	f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
	if f == nil || !m.Has(f) {
		return "-"
	}
	v := m.Get(f)
	switch {
	case f.IsMap():
		return fmt.Sprint(v.Map().Len())
	case f.IsList():
		list := v.List()
		texts := make([]string, 0, list.Len())
		for i := range list.Len() {
			texts = append(texts, single(f, list.Get(i), rest, now))
		}
		return strings.Join(texts, ",")
	}
	return single(f, v, rest, now)
}

func single(f protoreflect.FieldDescriptor, v protoreflect.Value, rest string, now time.Time) string {
	switch f.Kind() {
	case protoreflect.EnumKind:
		return enumName(f.Enum(), v.Enum())
	case protoreflect.MessageKind:
		if rest != "" {
			return value(v.Message(), rest, now)
		}
		return wellKnown(v.Message().Interface(), now)
	case protoreflect.BoolKind:
		if v.Bool() {
			return "yes"
		}
		return "no"
	}
	return strings.Map(printable, v.String())
}

func wellKnown(m proto.Message, now time.Time) string {
	switch m := m.(type) {
	case *timestamppb.Timestamp:
		return relative(m.AsTime().Sub(now))
	case *durationpb.Duration:
		return brief(m.AsDuration())
	}
	return "..."
}

// brief is a duration in two places, for tables.
func brief(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	case d >= time.Second:
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Microsecond).String()
}

// enumName is an enum's value in lower case, without what all its values begin
// with.
func enumName(e protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := e.Values().ByNumber(n)
	if v == nil {
		return fmt.Sprint(n)
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(string(v.Name()), enumPrefix(e))), "_", "-")
}

// enumPrefix is "TOKEN_KIND_" for TokenKind.
func enumPrefix(e protoreflect.EnumDescriptor) string {
	var b strings.Builder
	for i, r := range string(e.Name()) {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String()) + "_"
}

// printable keeps what others have named from moving a terminal's cursor.
func printable(r rune) rune {
	if r < 0x20 || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}
