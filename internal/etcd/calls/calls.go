// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package calls counts the calls that a member serves, so that the member closes its
// database only when no call uses it.
package calls

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Group is a lifecycle.Group that also ends the calls that wait for their caller. A read
// from a closed database would panic in the host's goroutine.
type Group struct {
	lifecycle.Group
	ended context.Context
	end   context.CancelCauseFunc
}

// New returns an open group.
func New() *Group {
	g := &Group{}
	g.ended, g.end = context.WithCancelCause(context.Background())
	return g
}

// Ended returns a context that ends with Close.
func (g *Group) Ended() context.Context { return g.ended }

// Close refuses new calls and ends Ended. It does not wait.
func (g *Group) Close() {
	g.Group.Close()
	g.end(rpctypes.ErrStopped)
}
