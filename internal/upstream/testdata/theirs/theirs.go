// Package theirs stands for a package of upstream.
package theirs

import "context"

// Options is a struct with an embedded field.
type Options[T any] struct {
	context.Context
	*Other
	A, B int `json:"a"`
	C    T
}

type Other struct{}

type Doer interface {
	Do(ctx context.Context) error
}

const (
	First = iota + 1
	Second
)

var Limit, Other2 = 100, First

// Run does one thing, then another.
func (o *Options[T]) Run() {
	o.one() // a comment
	o.two("a text")
}

func (o *Options[T]) one() {}

func (o *Options[T]) two(string) { o.one() }

func (Other) Value() int { return Second }
