package storage

import (
	"time"

	"k8s.io/utils/clock"
)

// beat is the grid of sharedClock.
const beat = time.Second

var epoch = time.Now()

// nearPeriod is how often a watch cache asks etcd how far it is while a request waits to
// know, as consistent lists do. Upstream asks ten times a second. An etcd in this process
// is asked by a call of a function, and need not be spared that much. No other timer of a
// watch cache is shorter than a beat.
const nearPeriod = 5 * time.Millisecond

// sharedClock lets the watch caches wake up together. Each wakes once a second
// for bookmarks, upstream with a jitter that spreads the work over several API
// servers. In one idle process the wake-ups are the work: one after the other,
// 70 caches cost 0.5 % of a core.
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

// onBeat returns the time to the beat that is nearest to d from now. What is
// shorter than a beat is left as it is.
func onBeat(d time.Duration) time.Duration {
	if d < beat {
		return d
	}
	now := time.Since(epoch)
	return (now + d).Round(beat) - now
}
