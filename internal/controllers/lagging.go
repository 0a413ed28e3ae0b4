// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// lagging reports that a wait for an informer was in vain: it cannot list its kind, or
// has lost its watch. Nothing waits for the informer until it has caught up, so that one
// such kind does not delay everything again and again.
type lagging struct{ atomic.Bool }

// await returns when caughtUp reports true, or ctx ends, or after the timeout.
func (l *lagging) await(ctx context.Context, timeout time.Duration, caughtUp func() bool) {
	if caughtUp() {
		l.Store(false)
		return
	}
	if l.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if lifecycle.Poll(ctx, caughtUp) != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		l.Store(true)
	}
}
