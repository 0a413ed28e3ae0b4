// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package testwait_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/testwait"
)

// failing records a failure instead of failing the test that it runs in.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper()               {}
func (f *failing) Fatalf(string, ...any) { f.failed = true; runtime.Goexit() }

func TestUntilWithin(t *testing.T) {
	for _, c := range []struct {
		name     string
		succeeds int // the successful attempt; 0 is none
		fails    bool
	}{{"at once", 1, false}, {"the third time", 3, false}, {"never", 0, true}} {
		t.Run(c.name, func(t *testing.T) {
			tries := 0
			outcome := &failing{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				limit := testwait.Timeout
				if c.fails {
					limit = 50 * time.Millisecond
				}
				testwait.UntilWithin(outcome, limit, "it", func(context.Context) error {
					if tries++; tries == c.succeeds {
						return nil
					}
					return errors.New("not yet")
				})
			}()
			<-done
			if outcome.failed != c.fails || !c.fails && tries != c.succeeds {
				t.Errorf("got failed %v after %d attempts, want %v after %d", outcome.failed, tries, c.fails, c.succeeds)
			}
		})
	}
}
