// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTimersOfTheSharedClockFireTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fired := make(map[time.Duration]int)
		start := time.Now()
		for range 10 {
			time.Sleep(7 * time.Millisecond)
			timer := sharedClock{}.NewTimer(time.Second)
			<-timer.C()
			timer.Reset(1250 * time.Millisecond)
			<-timer.C()
			fired[time.Since(start)%beat]++
		}
		if len(fired) != 1 {
			t.Errorf("timers fired at %d different moments of a second", len(fired))
		}
	})
}

func TestShortTimersOfTheSharedClockAreExact(t *testing.T) {
	const progressPeriod = 100 * time.Millisecond // upstream's progressRequestPeriod
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			clock sharedClock
			want  time.Duration
		}{
			{sharedClock{}, progressPeriod},
			{sharedClock{near: true}, nearPeriod}, // etcd is asked more often
		} {
			start := time.Now()
			timer := c.clock.NewTimer(progressPeriod)
			<-timer.C()
			timer.Reset(progressPeriod)
			<-timer.C()
			if took := time.Since(start); took != 2*c.want {
				t.Errorf("near %v: two of %v took %v, not %v each", c.clock.near, progressPeriod, took, c.want)
			}
		}
	})
}
