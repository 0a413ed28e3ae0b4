// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Syncs are the syncs in flight of controllers that read once and then write for long:
// the namespace deleter empties a namespace that it found deleted, even if a rollback has
// put it back meanwhile. The zero value is ready. It is safe for concurrent use.
type Syncs struct {
	mu      sync.Mutex
	last    int
	running map[int]context.CancelFunc
}

// begin begins a sync, which lasts until end is called. Its context ends when Cancel is
// called. A nil Syncs cancels nothing.
func (s *Syncs) begin(ctx context.Context) (_ context.Context, end func()) {
	if s == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		s.running = map[int]context.CancelFunc{}
	}
	s.last++
	number := s.last
	s.running[number] = cancel
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, number)
	}
}

// Cancel cancels the syncs in flight. New ones read what is stored then.
func (s *Syncs) Cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cancel := range s.running {
		cancel()
	}
}

// Wait returns when the syncs in flight have ended. The error is the cause of ctx if that
// ends first.
func (s *Syncs) Wait(ctx context.Context) error {
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	return lifecycle.Poll(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for number := range s.running {
			if number <= last {
				return false
			}
		}
		return true
	})
}
