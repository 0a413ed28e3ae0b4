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
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		<-sharedClock{}.NewTimer(100 * time.Millisecond).C()
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("100 ms took %v", took)
		}
	})
}
