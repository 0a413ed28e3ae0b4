// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"time"

	"k8s.io/utils/clock"
)

// beat is the grid of sharedClock.
const beat = time.Second

var epoch = time.Now()

// nearPeriod is how often a watch cache asks etcd for progress while a request waits for
// it, as consistent lists do. Upstream asks ten times a second. An etcd in this process
// answers by a function call, so that more requests cost little. No other timer of a
// watch cache is shorter than a beat.
const nearPeriod = 5 * time.Millisecond

// sharedClock lets the watch caches wake up together. Each wakes once a second for
// bookmarks; upstream adds a jitter that spreads the work over several API servers. In
// one idle process the wake-ups are the cost: one after the other, 70 caches take 0.5 %
// of a core.
type sharedClock struct {
	clock.RealClock
	near bool // etcd is in this process
}

func (c sharedClock) NewTimer(d time.Duration) clock.Timer {
	return sharedTimer{c.RealClock.NewTimer(c.after(d)), c}
}

func (c sharedClock) after(d time.Duration) time.Duration {
	if c.near && d < beat {
		return min(d, nearPeriod)
	}
	return onBeat(d)
}

type sharedTimer struct {
	clock.Timer
	clock sharedClock
}

func (t sharedTimer) Reset(d time.Duration) bool { return t.Timer.Reset(t.clock.after(d)) }

// onBeat returns the time until the beat that is nearest to d from now. It returns a d
// shorter than a beat unchanged.
func onBeat(d time.Duration) time.Duration {
	if d < beat {
		return d
	}
	now := time.Since(epoch)
	return (now + d).Round(beat) - now
}
