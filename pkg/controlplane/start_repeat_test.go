// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestStartAndStopAgainAndAgain stops control planes right after their start,
// and with all controllers at work. Nothing accumulates.
func TestStartAndStopAgainAndAgain(t *testing.T) {
	const times = 30
	cycle := func(i int) {
		server, err := controlplane.Start(t.Context(), parts(&part{name: "idle", run: idle}))
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			testwait.Until(t, "the controllers", func(context.Context) error {
				if runs("garbagecollector.(*GarbageCollector).runAttemptToDeleteWorker") && runs("resourcequota.(*Controller).Run") {
					return nil
				}
				return errors.New("they do not run")
			})
		}
		closeServer(t, server)
	}
	cycle(0) // creates the parts that a process has once
	cycle(1)
	goroutines, files, heap := goleak.IgnoreCurrent(), openFiles(t), heapAlloc()
	for i := range times {
		cycle(i)
	}
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
	wantOpenFiles(t, files)
	// A control plane takes about 50 MB: a leak of a tenth would show.
	if after := heapAlloc(); after > heap+times*5<<20 {
		t.Errorf("heap: got %d MB, want at most %d MB", after>>20, (heap+times*5<<20)>>20)
	}
}

func heapAlloc() uint64 {
	runtime.GC()
	runtime.GC() // memory that finalizers have released
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
