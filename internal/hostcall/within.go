// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hostcall

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Code is code of the host that requests wait for.
type Code struct {
	Name    string        // for failures
	Timeout time.Duration // of requests without a deadline
	Logger  *zap.Logger
	Calls   *Calls
}

// Within calls f for the request of ctx. It waits until shortly before the deadline of
// the request, and the context of f ends with the request.
func Within[T any](ctx context.Context, c Code, f func(context.Context) T) (value T, failure *Failure) {
	type result struct {
		value   T
		failure *Failure
	}
	results := make(chan result, 1)
	if !Go(c.Calls, func() T { return f(ctx) }, func(r Result[T]) {
		if r.Exit != nil {
			results <- result{failure: Exited(c.Logger, c.Name, r.Exit)}
			return
		}
		results <- result{value: r.Value}
	}) {
		return value, Blocked(c.Name)
	}
	limit, _ := Limit(ctx, c.Timeout)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-results:
		return r.value, r.failure
	case <-timer.C:
		return value, Overdue(c.Logger, c.Name, limit)
	case <-ctx.Done():
		return value, &Failure{
			Code:    http.StatusGatewayTimeout,
			Message: fmt.Sprintf("%s had not returned when the request ended: %v", c.Name, context.Cause(ctx)),
		}
	}
}
