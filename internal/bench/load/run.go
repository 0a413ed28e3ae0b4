// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Run calls ask for n objects, numbered from 0, as fast as possible, with clients
// goroutines.
func Run(ctx context.Context, n, clients int, ask func(ctx context.Context, i int) error) (Result, error) {
	return run(ctx, n, clients, 0, ask)
}

// run is Run with an optional rate. With a rate, latency counts from the time when a
// request was due, so it includes waiting for a busy client.
func run(ctx context.Context, n, clients int, rate float64, ask func(ctx context.Context, i int) error) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	latencies := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range max(clients, 1) {
		wg.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= n || ctx.Err() != nil {
					return
				}
				asked := time.Now()
				if rate > 0 {
					asked = began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
					if !sleepUntil(ctx, asked) {
						return
					}
				}
				if err := ask(ctx, i); err != nil {
					cancel(err)
					return
				}
				latencies[i] = time.Since(asked)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	return resultOf(latencies, elapsed), nil
}

func sleepUntil(ctx context.Context, due time.Time) bool {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// resultOf sorts latencies.
func resultOf(latencies []time.Duration, elapsed time.Duration) Result {
	slices.Sort(latencies)
	return Result{Count: len(latencies), Took: elapsed, P50: percentile(latencies, 50), P99: percentile(latencies, 99)}
}

// percentile uses the nearest rank.
func percentile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*percent + 99) / 100
	return sorted[max(rank, 1)-1]
}
