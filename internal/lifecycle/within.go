// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"fmt"
	"time"
)

// Within runs f and waits for it for at most timeout. If f takes longer, the error begins
// with what, and a goroutine stays until f ends.
func Within(timeout time.Duration, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%s: not done within %s", what, timeout)
	}
}
