// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package calls_test

import (
	"context"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/kubembed/kubembed/internal/etcd/calls"
)

// TestClose: Close ends the context of running calls without waiting for them, and
// refuses new calls.
func TestClose(t *testing.T) {
	group := calls.New()
	end, ok := group.Begin()
	if !ok {
		t.Fatal("an open group refuses a call")
	}
	if err := group.Ended().Err(); err != nil {
		t.Fatalf("the context of an open group has ended: %v", err)
	}
	group.Close()
	group.Close()
	if cause := context.Cause(group.Ended()); !errors.Is(cause, rpctypes.ErrStopped) {
		t.Fatalf("the context ended with %v, want %v", cause, rpctypes.ErrStopped)
	}
	if _, ok := group.Begin(); ok {
		t.Fatal("a closed group accepts a call")
	}
	if err := group.Wait(group.Ended()); !errors.Is(err, rpctypes.ErrStopped) {
		t.Errorf("Wait with a running call: got %v, want %v", err, rpctypes.ErrStopped)
	}
	end()
	if err := group.Wait(t.Context()); err != nil {
		t.Errorf("Wait after the last call: %v", err)
	}
}
