// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package parent ends a program when the process that started it ends.
package parent

import (
	"context"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// interval is the interval at which Context looks for the parent.
const interval = time.Second

// Context returns a context that ends with ctx, or when the parent process ends and the
// system assigns another one. Some suites do not stop their cluster, and none does when
// it crashes. On Windows, where a process keeps its parent's number, and in a process
// that began without a parent, it ends only with ctx.
func Context(ctx context.Context) context.Context {
	parent := os.Getppid()
	if parent <= 1 {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_ = wait.PollUntilContextCancel(ctx, interval, true, func(context.Context) (bool, error) {
			return os.Getppid() != parent, nil
		})
	}()
	return ctx
}
