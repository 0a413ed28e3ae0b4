// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package lifecycle starts and stops the goroutines of this project. Each goroutine
// belongs to a Group, which waits for it and refuses new work after Close.
package lifecycle

import (
	"context"
	"fmt"
	"sync"
)

// Group counts work in progress. Its zero value is ready. It is safe for concurrent use.
//
// Unlike a sync.WaitGroup it can be closed: after Close it refuses new work, which would
// race with Wait.
type Group struct {
	mu     sync.Mutex
	count  int
	begun  int64
	closed bool
	idle   chan struct{} // made by Close, closed when closed and count is 0
}

// Begin counts a piece of work and returns the function that ends it. It reports false if
// the group is closed: the caller must not do the work then.
func (g *Group) Begin() (end func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, false
	}
	g.count++
	g.begun++
	return sync.OnceFunc(g.end), true
}

func (g *Group) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count--
	g.release()
}

// Counts returns how many pieces of work have begun, and how many of them have not ended.
func (g *Group) Counts() (begun, running int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begun, int64(g.count)
}

// Go runs f in a goroutine of the group. It reports false, without running f,
// when the group is closed.
func (g *Group) Go(f func()) bool {
	end, ok := g.Begin()
	if !ok {
		return false
	}
	go func() {
		defer end()
		f()
	}()
	return true
}

// Close refuses further work. It may be called again.
func (g *Group) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		g.idle = make(chan struct{})
		g.release()
	}
}

// Wait closes the group and returns when all of its work has ended. If ctx ends first, it
// returns an error with the number of running pieces.
func (g *Group) Wait(ctx context.Context) error {
	g.Close()
	select {
	case <-g.idle:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count == 0 {
		return nil
	}
	return fmt.Errorf("%d still running: %w", g.count, context.Cause(ctx))
}

// release is called with mu held.
func (g *Group) release() {
	if g.closed && g.count == 0 {
		close(g.idle)
	}
}
