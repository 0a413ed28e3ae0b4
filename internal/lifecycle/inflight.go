// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"sync"
)

// InFlight are operations in flight. The zero value is ready. It is safe for concurrent
// use.
type InFlight struct {
	mu      sync.Mutex
	begun   uint64            // number of operations so far
	running map[uint64]func() // their cancel functions, or nil
}

// Begin counts an operation until end is called. Cancel calls cancel, which may be nil.
func (f *InFlight) Begin(cancel func()) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running == nil {
		f.running = map[uint64]func(){}
	}
	number := f.begun
	f.begun++
	f.running[number] = cancel
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.running, number)
	}
}

// Cancel cancels the operations in flight. It does not wait for their ends.
func (f *InFlight) Cancel() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, cancel := range f.running {
		if cancel != nil {
			cancel()
		}
	}
}

// Wait returns when the operations that began before the call have ended. The error is
// the cause of ctx if that ends first.
func (f *InFlight) Wait(ctx context.Context) error {
	f.mu.Lock()
	before := f.begun
	f.mu.Unlock()
	return Poll(ctx, func() bool { return f.ended(before) })
}

func (f *InFlight) ended(before uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for number := range f.running {
		if number < before {
			return false
		}
	}
	return true
}
