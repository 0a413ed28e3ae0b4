// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"errors"
	"fmt"
	"time"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// Within runs f and waits for it for at most timeout. If f takes longer, the error begins
// with what, and a goroutine stays until f ends. A panic of f is an error.
func Within(timeout time.Duration, what string, f func() error) error {
	done := contained(f)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%s: not done within %s", what, timeout)
	}
}

// contained runs f in a goroutine of its own. The result is an error too if f panics or
// ends the goroutine: f may call code of the host's.
func contained(f func() error) <-chan error {
	done := make(chan error, 1)
	hostcall.Go(new(hostcall.Calls), f, func(r hostcall.Result[error]) {
		switch {
		case r.Exit == nil:
			done <- r.Value
		case r.Exit.Panic == nil:
			done <- errors.New("its goroutine was ended")
		default:
			done <- fmt.Errorf("panicked: %v\n%s", r.Exit.Panic, r.Exit.Stack)
		}
	})
	return done
}
