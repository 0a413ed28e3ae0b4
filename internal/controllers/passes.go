// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Passes are the passes in flight of controllers that read once and then write for long:
// the namespace deleter empties a namespace that it found deleted, even if a rollback has
// put it back meanwhile. The zero value is ready. It is safe for concurrent use.
type Passes struct {
	mu      sync.Mutex
	last    int
	running map[int]context.CancelFunc
}

// begin begins a pass, which lasts until end is called. Its context ends when Interrupt
// is called.
func (p *Passes) begin(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		p.running = map[int]context.CancelFunc{}
	}
	p.last++
	number := p.last
	p.running[number] = cancel
	return ctx, func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.running, number)
	}
}

// Interrupt ends the passes in flight, and returns when they have ended. New ones may
// have begun, which read what is stored now. The error is the cause of ctx if that ends
// first.
func (p *Passes) Interrupt(ctx context.Context) error {
	p.mu.Lock()
	last := p.last
	for _, cancel := range p.running {
		cancel()
	}
	p.mu.Unlock()
	return lifecycle.Poll(ctx, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for number := range p.running {
			if number <= last {
				return false
			}
		}
		return true
	})
}
