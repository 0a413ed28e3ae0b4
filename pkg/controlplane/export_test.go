// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"time"

	"k8s.io/utils/clock"
)

// SetClock sets the clock for certificates.
func (c *Config) SetClock(clock clock.WithTicker) { c.clock = clock }

// SetHealth sets the interval and the timeout of the storage checks for control planes
// that start later. restore undoes it.
func SetHealth(interval, timeout time.Duration) (restore func()) {
	before, wait := healthInterval, healthTimeout
	healthInterval, healthTimeout = interval, timeout
	return func() { healthInterval, healthTimeout = before, wait }
}

// SetWaiting sets the time between log lines with the components that a start waits for.
func SetWaiting(interval time.Duration) (restore func()) {
	before := waitingInterval
	waitingInterval = interval
	return func() { waitingInterval = before }
}

// SetOpenFiles sets the check of the limit of open files at a start.
func SetOpenFiles(check func() error) (restore func()) {
	before := checkOpenFiles
	checkOpenFiles = check
	return func() { checkOpenFiles = before }
}
