// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Poll calls done until it reports true, at least once, with pauses that grow from 1 to
// 20 milliseconds. It returns the cause of ctx if ctx ends first. It is for upstream
// state without notifications that a start or stop waits for: frequent polling costs less
// than a slow start.
func Poll(ctx context.Context, done func() bool) error {
	pauses := wait.Backoff{Duration: time.Millisecond, Factor: 2, Steps: 6, Cap: 20 * time.Millisecond}
	err := pauses.DelayFunc().Until(ctx, true, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		return context.Cause(ctx)
	}
	return nil
}
