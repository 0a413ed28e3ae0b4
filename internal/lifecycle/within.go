package lifecycle

import (
	"fmt"
	"time"
)

// Within runs f, and waits for it no longer than timeout. Where it gives up it leaves a
// goroutine behind, which ends when f does.
func Within(timeout time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("not done within %s", timeout)
	}
}
