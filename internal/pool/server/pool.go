// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/pool/protocol"
)

const (
	// startTimeout bounds a start.
	startTimeout = 3 * time.Minute
	// resetTimeout bounds a reset, and the wait for the calls of a lease before it.
	resetTimeout = 10 * time.Second
	// resetPatience is the least time for which a waiter relies on a running reset: on a
	// busy machine, resets and starts take longer.
	resetPatience = 250 * time.Millisecond
)

var errStopping = errors.New("the program controlplanes stops")

// pool keeps control planes ready.
type pool struct {
	logger *zap.Logger
	ctx    context.Context // of all starts
	begin  Start
	work   lifecycle.Group // starts, resets and stops
	// wanted is the number of control planes of a group that are kept: go test runs as
	// many packages and parallel tests as there are processors, and one more is reset
	// meanwhile.
	wanted int
	// maxStarts bounds the simultaneous starts. More would take as long in all, and hold
	// the garbage of all of them.
	maxStarts int
	// crowd is the number of control planes from which waiters rely on leases that end,
	// for a while: more tests than that do not end sooner if all run at once, and each
	// control plane takes memory. See patience.
	crowd int
	// late serves waiters that have relied on leases in vain.
	late *time.Timer
	// spares starts spare control planes when it fires.
	spares *time.Timer

	mu      sync.Mutex
	stopped bool
	groups  map[string]*group
	clock   int
	starts  int           // of all groups
	stops   int           // since memory was given back
	took    time.Duration // the last start
}

// started is a control plane, or the reason why there is none.
type started struct {
	plane Plane
	err   error
}

func newPool(ctx context.Context, logger *zap.Logger, begin Start) *pool {
	p := &pool{
		logger: logger, ctx: ctx, begin: begin, groups: map[string]*group{},
		wanted: runtime.GOMAXPROCS(0) + 1, maxStarts: runtime.GOMAXPROCS(0), crowd: 2*runtime.GOMAXPROCS(0) + 2,
	}
	p.late = time.AfterFunc(crowdPatience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.serveWaiters()
	})
	p.spares = time.AfterFunc(quiet, p.startSpare)
	return p
}

// lease returns a control plane with options, for the caller until release or forsake.
func (p *pool) lease(ctx context.Context, options protocol.Options) (Plane, *group, error) {
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return nil, nil, errStopping
	}
	g := p.group(options)
	p.spares.Reset(quiet)
	for len(g.ready) > 0 {
		last := len(g.ready) - 1
		ready := g.ready[last]
		g.ready = g.ready[:last]
		if dead(ready) {
			p.discard(ready, ready.Err())
			continue
		}
		p.countLease(g)
		p.mu.Unlock()
		return ready, g, nil
	}
	result := make(chan started, 1)
	g.waiters = append(g.waiters, result)
	p.serveWaiters()
	p.mu.Unlock()
	select {
	case s := <-result:
		return s.plane, g, s.err
	case <-ctx.Done():
		p.leave(g, result)
		return nil, nil, context.Cause(ctx)
	}
}

// leave is the end of a waiter that does not want a control plane any more.
func (p *pool) leave(g *group, result chan started) {
	p.mu.Lock()
	g.waiters = slices.DeleteFunc(g.waiters, func(w chan started) bool { return w == result })
	p.mu.Unlock()
	select {
	case s := <-result:
		if s.plane != nil {
			p.mu.Lock()
			g.leased--
			p.offer(g, s.plane)
			p.mu.Unlock()
		}
	default:
	}
}

// release takes a control plane back whose lease has ended.
func (p *pool) release(g *group, pl Plane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.leased--
	g.moved = time.Now()
	if !p.work.Go(func() { p.reset(g, pl) }) {
		p.discard(pl, errStopping)
		return
	}
	g.resets++ // before another lease looks
}

// forsake stops a leased control plane that cannot be reset.
func (p *pool) forsake(g *group, pl Plane, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.leased--
	g.moved = time.Now()
	p.discard(pl, why)
	p.serveWaiters()
}

func (p *pool) reset(g *group, pl Plane) {
	counter := &g.resets
	p.mu.Lock()
	patience := max(resetPatience, p.took)
	p.mu.Unlock()
	late := time.AfterFunc(patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if counter != nil {
			g.resets--
			g.slowResets++
			counter = &g.slowResets
			p.serveWaiters()
		}
	})
	defer late.Stop()
	ctx, cancel := context.WithTimeout(p.ctx, resetTimeout)
	defer cancel()
	err := pl.Reset(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.unfit = err != nil; g.unfit {
		p.discard(pl, err)
	} else {
		p.offer(g, pl)
	}
	*counter--
	counter = nil
	p.serveWaiters()
}

// start begins a start. It reports false if the program stops.
func (p *pool) start(g *group) bool {
	if !p.work.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, startTimeout)
		defer cancel()
		began := time.Now()
		pl, err := p.begin(ctx, g.options)
		p.deliver(g, started{pl, err}, time.Since(began))
	}) {
		return false
	}
	g.starts++
	p.starts++
	return true
}

// deliver ends a start.
func (p *pool) deliver(g *group, s started, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.starts--
	p.starts--
	if g.failing = s.err != nil; g.failing {
		p.logger.Warn("a control plane does not start", zap.Error(s.err))
		if p.ctx.Err() != nil {
			s.err = errStopping
		}
		if len(g.waiters) > 0 {
			g.waiters[0] <- s
			g.waiters = g.waiters[1:]
		}
	} else {
		p.took = took
		p.offer(g, s.plane)
	}
	p.serveWaiters()
	p.spares.Reset(quiet)
}

// offer gives a control plane to a waiter, or keeps it ready.
func (p *pool) offer(g *group, pl Plane) {
	switch {
	case len(g.waiters) > 0:
		p.countLease(g)
		g.waiters[0] <- started{plane: pl}
		g.waiters = g.waiters[1:]
	case !p.stopped && len(g.ready) < p.wanted:
		g.ready = append(g.ready, pl)
	default:
		p.discard(pl, errors.New("enough are ready"))
	}
}

// discard stops a control plane.
func (p *pool) discard(pl Plane, why error) {
	p.logger.Info("a control plane is not used again", zap.String("url", pl.URL()), zap.NamedError("reason", why))
	stop := func() {
		if err := pl.Close(); err != nil {
			p.logger.Warn("the stop of a control plane has failed", zap.Error(err))
		}
	}
	if !p.work.Go(stop) {
		stop()
	}
	if !p.stopped {
		p.stops++
		p.spares.Reset(quiet)
	}
}

// stop stops all control planes that are not leased.
func (p *pool) stop(ctx context.Context) error {
	p.mu.Lock()
	p.stopped = true
	p.spares.Stop()
	p.late.Stop()
	for _, g := range p.groups {
		for _, ready := range g.ready {
			p.discard(ready, errStopping)
		}
		g.ready = nil
	}
	p.mu.Unlock()
	return p.work.Wait(ctx)
}

func dead(pl Plane) bool {
	select {
	case <-pl.Done():
		return true
	default:
		return false
	}
}

// status adds the control planes that are not leased.
func (p *pool) status(s *protocol.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		for _, ready := range g.ready {
			s.ControlPlanes = append(s.ControlPlanes, protocol.ControlPlane{State: protocol.StateReady, Leases: ready.Leases(), URL: ready.URL(), Since: ready.Since()})
		}
		for range g.starts + g.resets + g.slowResets {
			s.ControlPlanes = append(s.ControlPlanes, protocol.ControlPlane{State: protocol.StateComing})
		}
	}
}

// warm starts a control plane with options before the first lease.
func (p *pool) warm(options protocol.Options) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start(p.group(options))
}
