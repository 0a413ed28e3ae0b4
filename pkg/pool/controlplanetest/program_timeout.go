// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"flag" //nolint:depguard // the flag of package testing is read, none is defined
	"fmt"
	"time"
)

// processStart is a little before the time from which package testing counts.
var processStart = time.Now()

// reserve is the time before the timeout at which a test fails by itself.
var reserve = func(timeout time.Duration) time.Duration { return min(10*time.Second, timeout/10) }

// beforeTimeout ends a little before the timeout of go test, which shows goroutines
// instead of an error. TB has no Deadline, because Ginkgo's has none.
func beforeTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := time.Duration(0)
	if f := flag.Lookup("test.timeout"); f != nil {
		if getter, ok := f.Value.(flag.Getter); ok {
			timeout, _ = getter.Get().(time.Duration)
		}
	}
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	end := processStart.Add(timeout - reserve(timeout))
	return context.WithDeadlineCause(ctx, end, fmt.Errorf("the test is about to reach its -timeout of %s: run it again in a while, or with a longer -timeout", timeout))
}
