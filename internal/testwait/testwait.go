// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package testwait waits in tests for conditions that become true by themselves. It never
// sleeps for a fixed time: a wait ends as soon as its condition holds.
package testwait

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Timeout bounds every wait. It is far above the duration of a wait on a busy machine, so
// only a condition that never holds reaches it.
const Timeout = time.Minute

// interval is the pause between two attempts.
const interval = 20 * time.Millisecond

// attemptTimeout ends one attempt of Until, so that a request to a hanging server does
// not use up the whole wait.
const attemptTimeout = 10 * time.Second

// Until calls check until it returns nil. It fails the test with the last error and what
// if that takes longer than Timeout. The context of each call ends after ten seconds.
func Until(t testing.TB, what string, check func(context.Context) error) {
	t.Helper()
	UntilWithin(t, Timeout, what, check)
}

// UntilWithin is Until with another limit.
func UntilWithin(t testing.TB, timeout time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	var failure error
	err := wait.PollUntilContextTimeout(t.Context(), interval, timeout, true, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		failure = check(ctx)
		return failure == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: not within %s: %v", what, timeout, failure)
	}
}

// True calls condition until it returns true.
func True(t testing.TB, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), interval, Timeout, true, func(context.Context) (bool, error) {
		return condition(), nil
	})
	if err != nil {
		t.Fatalf("%s: not within %s", what, Timeout)
	}
}
