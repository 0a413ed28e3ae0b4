// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package controlplane_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// BenchmarkIdle reports the CPU time of an idle control plane in thousandths of a core,
// and for comparison that of 40 goroutines that wake up every 500 ms. client-go has such
// a goroutine for the metrics of each work queue, and an API server has 40 queues. Run it
// with -benchtime=1x.
func BenchmarkIdle(b *testing.B) {
	b.Run("plane", func(b *testing.B) {
		start(b, controlplane.Config{})
		reportIdle(b)
	})
	b.Run("timers", func(b *testing.B) {
		done := make(chan struct{})
		defer close(done)
		for range 40 {
			ticker := time.NewTicker(500 * time.Millisecond)
			go func() {
				defer ticker.Stop()
				for {
					select {
					case <-ticker.C:
					case <-done:
						return
					}
				}
			}()
			time.Sleep(4 * time.Millisecond) // queues are not created at the same time either
		}
		reportIdle(b)
	})
}

func reportIdle(b *testing.B) {
	const settle, window = 5 * time.Second, 30 * time.Second
	time.Sleep(settle)
	for b.Loop() {
		before := cpu(b)
		time.Sleep(window)
		b.ReportMetric(float64((cpu(b)-before).Milliseconds())/window.Seconds(), "ms-cpu/s")
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
