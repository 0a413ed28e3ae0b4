package controlplane

import (
	"time"

	"k8s.io/utils/clock"
)

// SetClock is what certificates go by.
func (c *Config) SetClock(clock clock.WithTicker) { c.clock = clock }

// SetHealth has control planes that start from now on look at their storage so often, and
// wait so long for it. restore undoes it.
func SetHealth(interval, timeout time.Duration) (restore func()) {
	before, wait := healthInterval, healthTimeout
	healthInterval, healthTimeout = interval, timeout
	return func() { healthInterval, healthTimeout = before, wait }
}

// SetWaiting is how often the log names the components that a start waits for.
func SetWaiting(interval time.Duration) (restore func()) {
	before := waitingInterval
	waitingInterval = interval
	return func() { waitingInterval = before }
}
