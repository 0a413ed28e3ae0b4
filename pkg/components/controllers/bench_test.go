// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// BenchmarkRun measures the time until the controllers are ready, the time of their stop,
// and their memory in between, on a control plane without objects.
func BenchmarkRun(b *testing.B) {
	for name, set := range map[string]string{"workloads": controllers.Workloads, "all": controllers.All} {
		b.Run(name, func(b *testing.B) {
			p := start(b, controlplane.Config{})
			var ready, stop time.Duration
			var heap, goroutines float64
			for b.Loop() {
				before, running := heapInUse(), runtime.NumGoroutine()
				begun := time.Now()
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				up := make(chan struct{})
				go func() {
					done <- controllers.New(controllers.Config{Controllers: []string{set}}).Run(ctx, p.config, func() { close(up) })
				}()
				<-up
				ready += time.Since(begun)
				heap += heapInUse() - before
				goroutines += float64(runtime.NumGoroutine() - running)
				begun = time.Now()
				cancel()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				stop += time.Since(begun)
			}
			n := float64(b.N)
			b.ReportMetric(float64(ready.Milliseconds())/n, "ms-ready")
			b.ReportMetric(float64(stop.Milliseconds())/n, "ms-stop")
			b.ReportMetric(heap/n, "MB-heap")
			b.ReportMetric(goroutines/n, "goroutines")
		})
	}
}

func heapInUse() float64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc) / (1 << 20)
}
