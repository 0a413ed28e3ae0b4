// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Syncs are the syncs in flight of controllers that read once and then write for long:
// the namespace deleter empties a namespace that it found deleted, even if a rollback has
// put it back meanwhile. Cancel does not affect later syncs: they read the restored
// state.
type Syncs struct{ lifecycle.InFlight }

// begin begins a sync, which lasts until end is called. Its context ends when Cancel is
// called. A nil Syncs cancels nothing.
func (s *Syncs) begin(ctx context.Context) (_ context.Context, end func()) {
	if s == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := s.Begin(cancel)
	return ctx, func() {
		cancel()
		ended()
	}
}
