package controlplane

import "k8s.io/utils/clock"

// SetClock is what certificates go by.
func (c *Config) SetClock(clock clock.WithTicker) { c.clock = clock }
