// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/pool/plane"
	"github.com/kubembed/kubembed/internal/pool/protocol"
)

const (
	// warm is the number of control planes that are kept ready for each set of options.
	// go test runs as many packages at once as there are processors.
	ready = 2
	// maxGroups bounds the sets of options with ready control planes. The one that was
	// used least recently loses them.
	maxGroups = 4
	// startTimeout bounds a start. Twenty at once on two processors take seconds.
	startTimeout = 3 * time.Minute
)

var errStopping = errors.New("the program stops")

// pool keeps control planes ready.
type pool struct {
	logger *zap.Logger
	ctx    context.Context // of all starts
	work   lifecycle.Group // starts, resets and stops
	// lacking wakes refill.
	lacking chan struct{}

	mu      sync.Mutex
	stopped bool
	groups  map[string]*group
	clock   int
}

// group are the control planes with the same options.
type group struct {
	options protocol.Options
	used    int // the clock at the last lease
	ready   []*plane.Plane
	waiters []chan started
	// starts and resets count the running ones. A waiter does not rely on a reset: it may
	// take long, and fail.
	starts, resets int
}

// started is a control plane, or the reason why there is none.
type started struct {
	plane *plane.Plane
	err   error
}

func newPool(ctx context.Context, logger *zap.Logger) *pool {
	p := &pool{logger: logger, ctx: ctx, lacking: make(chan struct{}, 1), groups: map[string]*group{}}
	p.work.Go(p.refill)
	return p
}

// lease returns a control plane with options, for the caller until release.
func (p *pool) lease(ctx context.Context, options protocol.Options) (*plane.Plane, *group, error) {
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return nil, nil, errStopping
	}
	g := p.group(options)
	defer p.wake()
	for len(g.ready) > 0 {
		last := len(g.ready) - 1
		ready := g.ready[last]
		g.ready = g.ready[:last]
		if dead(ready) {
			p.discard(ready, ready.Err())
			continue
		}
		p.mu.Unlock()
		return ready, g, nil
	}
	result := make(chan started, 1)
	g.waiters = append(g.waiters, result)
	p.hurry(g)
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
			p.offer(g, s.plane)
		}
	default:
	}
}

// release takes a control plane back whose lease has ended.
func (p *pool) release(g *group, pl *plane.Plane) {
	p.mu.Lock()
	g.resets++
	p.mu.Unlock()
	ok := p.work.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, plane.ResetTimeout)
		defer cancel()
		err := pl.Reset(ctx)
		p.mu.Lock()
		g.resets--
		p.mu.Unlock()
		if err != nil {
			p.discard(pl, err)
			p.wake()
			return
		}
		p.offer(g, pl)
	})
	if !ok {
		p.discard(pl, errStopping)
	}
}

// group returns the group of options. It is called with mu held, as are hurry and lacks.
func (p *pool) group(options protocol.Options) *group {
	p.clock++
	key, _ := json.Marshal(options) // has no values that JSON does not have
	g := p.groups[string(key)]
	if g == nil {
		g = &group{options: options}
		p.groups[string(key)] = g
	}
	g.used = p.clock
	return g
}

// hurry starts control planes for waiters that none comes for.
func (p *pool) hurry(g *group) {
	for g.starts < len(g.waiters) {
		g.starts++
		if !p.work.Go(func() { p.start(g) }) {
			g.starts--
			for _, waiter := range g.waiters {
				waiter <- started{err: errStopping}
			}
			g.waiters = nil
		}
	}
}

func (p *pool) start(g *group) {
	ctx, cancel := context.WithTimeout(p.ctx, startTimeout)
	defer cancel()
	pl, err := plane.Start(ctx, g.options)
	p.deliver(g, started{pl, err})
}

// deliver ends a start.
func (p *pool) deliver(g *group, s started) {
	p.mu.Lock()
	g.starts--
	if s.err != nil && len(g.waiters) > 0 {
		g.waiters[0] <- s
		g.waiters = g.waiters[1:]
		p.hurry(g)
	}
	p.mu.Unlock()
	if s.plane != nil {
		p.offer(g, s.plane)
	}
}

// offer gives a control plane to a waiter, or keeps it ready.
func (p *pool) offer(g *group, pl *plane.Plane) {
	p.mu.Lock()
	switch {
	case len(g.waiters) > 0:
		g.waiters[0] <- started{plane: pl}
		g.waiters = g.waiters[1:]
	case !p.stopped && len(g.ready) < ready:
		g.ready = append(g.ready, pl)
	default:
		p.discard(pl, errors.New("enough are ready"))
	}
	p.mu.Unlock()
	p.wake()
}

// discard stops a control plane.
func (p *pool) discard(pl *plane.Plane, why error) {
	p.logger.Info("a control plane is not used again", zap.String("url", pl.URL()), zap.NamedError("reason", why))
	stop := func() {
		if err := pl.Close(); err != nil {
			p.logger.Warn("the stop of a control plane has failed", zap.Error(err))
		}
	}
	if !p.work.Go(stop) {
		stop()
	}
}

func (p *pool) wake() {
	select {
	case p.lacking <- struct{}{}:
	default:
	}
}

// refill starts control planes ahead of the leases, one after another, so that tests that
// run have most of the processors.
func (p *pool) refill() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.lacking:
		}
		for {
			g := p.next()
			if g == nil {
				break
			}
			p.start(g)
		}
	}
}

// next returns a group that lacks a ready control plane, with a start counted, or nil. It
// discards the ready ones of groups that have not been used for long.
func (p *pool) next() *group {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil
	}
	recent := slices.SortedFunc(maps.Values(p.groups), func(a, b *group) int { return b.used - a.used })
	for i, g := range recent {
		if i >= maxGroups {
			for _, ready := range g.ready {
				p.discard(ready, errors.New("its options are not in use"))
			}
			g.ready = nil
			continue
		}
		if len(g.ready)+g.starts+g.resets < ready+len(g.waiters) {
			g.starts++
			return g
		}
	}
	return nil
}

// stop stops all control planes that are not leased.
func (p *pool) stop(ctx context.Context) error {
	p.mu.Lock()
	p.stopped = true
	for _, g := range p.groups {
		for _, ready := range g.ready {
			p.discard(ready, errStopping)
		}
		g.ready = nil
	}
	p.mu.Unlock()
	return p.work.Wait(ctx)
}

func dead(pl *plane.Plane) bool {
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
		for range g.starts + g.resets {
			s.ControlPlanes = append(s.ControlPlanes, protocol.ControlPlane{State: protocol.StateComing})
		}
	}
}

// warm keeps control planes with options ready before the first lease.
func (p *pool) warm(options protocol.Options) {
	p.mu.Lock()
	p.group(options)
	p.mu.Unlock()
	p.wake()
}
