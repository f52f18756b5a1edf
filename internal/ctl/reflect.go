package ctl

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// fresh returns an empty message of the same type.
func fresh(m proto.Message) proto.Message { return m.ProtoReflect().New().Interface() }

// listField is the field of an answer to a list that holds the resources.
func listField(page proto.Message) protoreflect.FieldDescriptor {
	fields := page.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.IsList() && f.Kind() == protoreflect.MessageKind {
			return f
		}
	}
	return nil
}

func contains(list []string, one string) bool { return slices.Contains(list, one) }

// ignoreEnd takes the end that was asked for, by Ctrl-C, for none.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// protoMessage returns an empty message of a descriptor whose type is compiled in.
func protoMessage(d protoreflect.MessageDescriptor) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil
	}
	return t.New().Interface()
}

func fieldNames(m protoreflect.MessageDescriptor) []string {
	names := make([]string, m.Fields().Len())
	for i := range names {
		names[i] = string(m.Fields().Get(i).Name())
	}
	return names
}
