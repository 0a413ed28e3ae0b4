// Package parent ends a program together with the one that has started it.
package parent

import (
	"context"
	"os"
	"time"
)

// interval is how often the parent is looked for.
const interval = time.Second

// Context ends with ctx, and when the process that has started this one is gone: the
// system then gives it another parent. Many a suite does not stop its cluster, and none
// does when it crashes. On Windows, where a process keeps its parent's number, and in a
// process that had no parent to begin with, it ends with ctx only.
func Context(ctx context.Context) context.Context {
	parent := os.Getppid()
	if parent <= 1 {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for os.Getppid() == parent {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return ctx
}
