package connector

import (
	"errors"
	"slices"
)

// ErrNotAvailable means that the kind is known but this release cannot talk to it.
var ErrNotAvailable = errors.New("connector: this kind arrives in a later release")

// builders is the one list of the connectors in this binary.
var builders = map[Type]func(Env) Connector{
	Generic: newGeneric,
}

// Known reports whether t names a kind of CRM.
func Known(t Type) bool { return slices.Contains(Types, t) }

// Available reports whether this binary can talk to that kind.
func Available(t Type) bool { return builders[t] != nil }

// New makes the connector of a kind; ErrNotAvailable when this binary has none.
func New(t Type, env Env) (Connector, error) {
	build := builders[t]
	if build == nil {
		return nil, ErrNotAvailable
	}
	if env.Memory == nil {
		env.Memory = &Memory{}
	}
	return build(env), nil
}
