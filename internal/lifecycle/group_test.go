// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestGroupWaitsForItsWork(t *testing.T) {
	var g lifecycle.Group
	release := make(chan struct{})
	if !g.Go(func() { <-release }) {
		t.Fatal("an open group refused work")
	}
	if err := g.Wait(ended()); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 still running") {
		t.Fatalf("Wait with running work: got %v", err)
	}
	if begun, running := g.Counts(); begun != 1 || running != 1 {
		t.Errorf("Counts with running work: got %d and %d, want 1 and 1", begun, running)
	}
	close(release)
	if err := g.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if begun, running := g.Counts(); begun != 1 || running != 0 {
		t.Errorf("Counts after the work: got %d and %d, want 1 and 0", begun, running)
	}
}

func TestGroupRefusesWorkOnceClosed(t *testing.T) {
	var g lifecycle.Group
	g.Close()
	g.Close()
	if g.Go(func() { t.Error("work ran in a closed group") }) {
		t.Error("a closed group accepted work")
	}
	if _, ok := g.Begin(); ok {
		t.Error("a closed group accepted work")
	}
	if err := g.Wait(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestGroupUnderLoad(t *testing.T) {
	var g lifecycle.Group
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for {
				end, ok := g.Begin()
				if !ok {
					return
				}
				end()
				end() // counts once
			}
		})
	}
	if err := g.Wait(context.Background()); err != nil {
		t.Error(err)
	}
	callers.Wait()
}
