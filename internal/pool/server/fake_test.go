// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// fake is a control plane without an API server.
type fake struct {
	Plane // calls that a test does not expect

	name   string
	of     *fakes
	done   chan struct{}
	leases int
}

// fakes starts fakes.
type fakes struct {
	held            chan struct{} // unless it is nil, starts wait until it is closed
	mu              sync.Mutex
	takes, resets   time.Duration // of a start, and of a reset
	failing, unfit  error         // of starts, and of resets
	started, closed []*fake
	running, most   int // starts at once
	failed          int // starts
}

func (f *fakes) start(ctx context.Context, options protocol.Options) (Plane, error) {
	f.mu.Lock()
	takes, failing := f.takes, f.failing
	f.running++
	f.most = max(f.most, f.running)
	f.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		failing = context.Cause(ctx)
	}
	if f.held != nil {
		select {
		case <-f.held:
		case <-ctx.Done():
			failing = context.Cause(ctx)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	if failing != nil {
		f.failed++
		return nil, failing
	}
	p := &fake{name: fmt.Sprint("fake ", len(f.started), options.ServiceCIDR), of: f, done: make(chan struct{})}
	f.started = append(f.started, p)
	return p, nil
}

func (p *fake) Begin(id string) protocol.Lease {
	p.leases++
	return protocol.Lease{ID: id, URL: p.name}
}
func (p *fake) End()                  {}
func (p *fake) Done() <-chan struct{} { return p.done }
func (p *fake) Err() error            { return errors.New("etcd has failed") }
func (p *fake) URL() string           { return p.name }
func (p *fake) Leases() int           { return p.leases }
func (p *fake) Since() time.Time      { return time.Time{} }

func (p *fake) Reset(ctx context.Context) error {
	p.of.mu.Lock()
	takes, unfit := p.of.resets, p.of.unfit
	p.of.mu.Unlock()
	select {
	case <-time.After(takes):
		return unfit
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *fake) Close() error {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.of.closed = append(p.of.closed, p)
	return nil
}

// set changes the fakes.
func (f *fakes) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// counts returns how many were started and closed.
func (f *fakes) counts() (started, closed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.started), len(f.closed)
}

// newFakes returns a pool of fakes for two processors, which is stopped at the end.
func newFakes(t *testing.T) (*pool, *fakes) {
	t.Helper()
	f := &fakes{takes: time.Second, resets: 10 * time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	p := newPool(ctx, newLogger(t), f.start)
	p.wanted, p.maxStarts, p.crowd = 3, 2, 6
	t.Cleanup(func() {
		cancel()
		if err := p.stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p, f
}

// take leases a control plane, at the latest within an hour.
func take(t *testing.T, p *pool, options protocol.Options) (Plane, *group) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	pl, g, err := p.lease(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	return pl, g
}

func newLogger(t *testing.T) *zap.Logger { return zaptest.NewLogger(t) }
