// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

var none protocol.Options

// want checks how many control planes were started and closed.
func want(t *testing.T, f *fakes, started, closed int) {
	t.Helper()
	synctest.Wait()
	if s, c := f.counts(); s != started || c != closed {
		t.Errorf("%d started and %d closed, want %d and %d", s, c, started, closed)
	}
}

// TestSequence: tests one after another need no start, and nothing is discarded.
func TestSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		p.warm(none)
		for range 50 {
			pl, g := take(t, p, none)
			p.release(g, pl)
		}
		want(t, f, 1, 0)
		time.Sleep(time.Minute)
		want(t, f, 3, 0) // two spares, when it is quiet
	})
}

// TestSparesWait: spares do not start while leases begin.
func TestSparesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		for range 30 {
			pl, g := take(t, p, none)
			time.Sleep(quiet / 2)
			p.release(g, pl)
		}
		want(t, f, 1, 0)
	})
}

// twenty runs tests at once that have a control plane for a while.
func twenty(t *testing.T, p *pool, takes time.Duration) {
	t.Helper()
	var tests sync.WaitGroup
	for range 20 {
		tests.Go(func() {
			pl, g := take(t, p, none)
			time.Sleep(takes)
			p.release(g, pl)
		})
	}
	tests.Wait()
}

// TestTwentyAtOnce: two start at a time, and waiters get returned control planes.
func TestTwentyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		twenty(t, p, 10*time.Millisecond)
		started, _ := f.counts()
		if f.most != 2 || started > 4 {
			t.Errorf("%d at once and %d in all, want 2 and at most 4", f.most, started)
		}
	})
}

// TestCrowd: tests that run for a while wait for each other, instead of twenty control
// planes.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		twenty(t, p, 3*time.Second)
		if started, _ := f.counts(); started != 6 {
			t.Errorf("%d started, want 6", started)
		}
	})
}

// TestCrowdOfOthers: tests with other options that come and go keep no test waiting.
func TestCrowdOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		var tests sync.WaitGroup
		enough := make(chan struct{})
		for range 2 * p.crowd {
			tests.Go(func() {
				for {
					pl, g := take(t, p, none)
					select {
					case <-time.After(3 * time.Second):
						p.release(g, pl)
					case <-enough:
						p.release(g, pl)
						return
					}
				}
			})
		}
		time.Sleep(time.Minute)
		for range 3 {
			began := time.Now()
			pl, g := take(t, p, protocol.Options{Audit: true})
			if took := time.Since(began); took > f.takes {
				t.Errorf("after %s", took)
			}
			p.forsake(g, pl, errors.New("a call does not end"))
		}
		close(enough)
		tests.Wait()
	})
}

// TestReadyOfOthers: control planes that are ready for other options make no crowd.
func TestReadyOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		for i := range maxGroups - 1 {
			pl, g := take(t, p, protocol.Options{ServiceCIDR: fmt.Sprint(i)})
			p.release(g, pl)
			time.Sleep(time.Minute)
		}
		take(t, p, none) // stays
		for range 2 {
			began := time.Now()
			pl, g := take(t, p, none)
			if took := time.Since(began); took > f.takes {
				t.Errorf("after %s", took)
			}
			p.forsake(g, pl, errors.New("a call does not end"))
		}
	})
}

// TestCrowdAndOthers: waiters that rely on the leases of a crowd do not keep others from
// their starts.
func TestCrowdAndOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		for range p.crowd {
			take(t, p, none)
		}
		began := time.Now()
		var tests sync.WaitGroup
		for range 3 { // one more than start at once
			tests.Go(func() {
				take(t, p, protocol.Options{Audit: true})
				if took := time.Since(began); took > 2*f.takes {
					t.Errorf("after %s", took)
				}
			})
		}
		synctest.Wait()
		take(t, p, none) // relies on the crowd
		if took := time.Since(began); took < crowdPatience {
			t.Errorf("no crowd: after %s", took)
		}
		tests.Wait()
	})
}

// TestCrowdOfUnfit: nobody relies on leases whose control planes are not used again.
func TestCrowdOfUnfit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		f.unfit = errors.New("a token was made")
		pl, g := take(t, p, none)
		p.release(g, pl)
		for range 2 * p.crowd {
			began := time.Now()
			take(t, p, none)
			if took := time.Since(began); took > 2*f.takes {
				t.Errorf("after %s", took)
			}
		}
	})
}

// TestCrowdOfSlowStarts: the time for which waiters rely on leases has a limit.
func TestCrowdOfSlowStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		f.takes = time.Minute
		for range p.crowd {
			take(t, p, none)
		}
		began := time.Now()
		take(t, p, none)
		if took := time.Since(began); took > f.takes+maxPatience {
			t.Errorf("after %s", took)
		}
	})
}

// TestTwentyKept: each of twenty has its own if none ends, and few stay afterwards.
func TestTwentyKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		var tests sync.WaitGroup
		all := make(chan struct{})
		distinct := sync.Map{}
		for range 20 {
			tests.Go(func() {
				pl, g := take(t, p, none)
				if _, shared := distinct.LoadOrStore(pl, true); shared {
					t.Error("two leases of one control plane")
				}
				<-all
				p.release(g, pl)
			})
		}
		time.Sleep(20 * time.Second)
		want(t, f, 20, 0)
		close(all)
		tests.Wait()
		time.Sleep(time.Minute)
		want(t, f, 20, 17)
	})
}

// TestUnfit: a control plane that cannot be reset is stopped, and replaced when it is
// quiet, or at once for a waiter.
func TestUnfit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		f.unfit = errors.New("a token was made")
		first, g := take(t, p, none)
		p.release(g, first)
		second, g := take(t, p, none)
		if first == second {
			t.Error("it was leased again")
		}
		want(t, f, 2, 1)
		p.release(g, second)
		time.Sleep(time.Minute)
		want(t, f, 5, 2)
	})
}

// TestSlowReset: a waiter does not wait for a reset that takes longer than a start, and
// the control plane is not lost.
func TestSlowReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		f.resets = 9 * time.Second
		first, g := take(t, p, none)
		p.release(g, first)
		began := time.Now()
		second, _ := take(t, p, none)
		if took := time.Since(began); first == second || took > f.takes+f.takes {
			t.Errorf("after %s", took)
		}
		time.Sleep(time.Minute)
		want(t, f, 4, 0)
		synctest.Wait()
		if len(g.ready) != 3 {
			t.Errorf("%d are ready", len(g.ready))
		}
	})
}

// TestFailingStart: each waiter gets the error, and nothing is started for nobody.
func TestFailingStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		f.failing = errors.New("Config.ServiceCIDR: invalid")
		var waiters sync.WaitGroup
		for range 3 {
			waiters.Go(func() {
				if _, _, err := p.lease(t.Context(), none); !errors.Is(err, f.failing) {
					t.Errorf("got %v", err)
				}
			})
		}
		waiters.Wait()
		time.Sleep(time.Hour)
		if want(t, f, 0, 0); f.failed != 3 {
			t.Errorf("%d starts have failed, want 3", f.failed)
		}
		f.set(func() { f.failing = nil })
		take(t, p, none)
		time.Sleep(time.Minute)
		want(t, f, 3, 0)
	})
}

// TestDeadReady: a control plane that has stopped by itself is not leased.
func TestDeadReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		p.warm(none)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		close(f.started[0].done)
		pl, _ := take(t, p, none)
		if pl == Plane(f.started[0]) {
			t.Error("a dead control plane was leased")
		}
	})
}

// TestLeave: a waiter that gives up leaves its control plane to others.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		// It ends at the moment of the delivery: either order must be safe.
		for range 20 {
			ctx, cancel := context.WithTimeoutCause(t.Context(), f.takes, errors.New("left"))
			pl, g, err := p.lease(ctx, none)
			cancel()
			if err == nil {
				p.release(g, pl)
			} else if err.Error() != "left" {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		want(t, f, 3, 0)
		synctest.Wait()
		for _, g := range p.groups {
			if len(g.ready) != 3 || g.leased != 0 || len(g.waiters) != 0 {
				t.Errorf("%d ready, %d leased, %d waiters", len(g.ready), g.leased, len(g.waiters))
			}
		}
	})
}

// TestGroups: only the sets of options that were used last have ready control planes, and
// the others are forgotten.
func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		for i := range 150 {
			pl, g := take(t, p, protocol.Options{ServiceCIDR: fmt.Sprint(i)})
			p.release(g, pl)
			time.Sleep(5 * time.Second)
		}
		synctest.Wait()
		started, closed := f.counts()
		if open := started - closed; open != maxGroups*p.wanted {
			t.Errorf("%d run, want %d", open, maxGroups*p.wanted)
		}
		if len(p.groups) > 101 {
			t.Errorf("%d groups", len(p.groups))
		}
	})
}

// TestStopWhileStarting: waiters get the reason, and nothing is left.
func TestStopWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{takes: time.Second, resets: time.Second}
		ctx, cancel := context.WithCancel(context.Background())
		p := newPool(ctx, newLogger(t), f.start)
		p.wanted, p.maxStarts = 3, 2
		ready, g := take(t, p, none)
		var waiters sync.WaitGroup
		for range 5 {
			waiters.Go(func() {
				if _, _, err := p.lease(t.Context(), none); !errors.Is(err, errStopping) {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		waiters.Wait()
		p.release(g, ready)
		if err := p.stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.lease(t.Context(), none); !errors.Is(err, errStopping) {
			t.Errorf("after the stop: %v", err)
		}
		if len(f.closed) != 1 {
			t.Errorf("%d closed", len(f.closed))
		}
	})
}

// TestReleaseAfterStop: a lease that ends late is stopped, too.
func TestReleaseAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f := newFakes(t)
		pl, g := take(t, p, none)
		if err := p.stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.release(g, pl)
		want(t, f, 1, 1)
	})
}
