// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hollownode_test

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func heap() float64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc) / (1 << 20)
}

// BenchmarkThousandNodes registers 1,000 nodes, runs 5,000 pods on them, and measures
// them idle. Heap and CPU include the control plane.
func BenchmarkThousandNodes(b *testing.B) {
	const idle = 40 * time.Second
	for range b.N {
		p := start(b, controlplane.Config{})
		p.warm(b)
		empty := heap()
		used, began := cpu(), time.Now()
		time.Sleep(idle / 4)
		b.ReportMetric(100*float64(cpu()-used)/float64(time.Since(began)), "%CPU-empty")

		began = time.Now()
		stop := p.run(b, hollownode.New(hollownode.Config{Count: 1000}))
		b.ReportMetric(time.Since(began).Seconds(), "s/1000-nodes")
		nodes := heap()
		b.ReportMetric(nodes-empty, "MB/1000-nodes")
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")

		used, began = cpu(), time.Now()
		time.Sleep(idle)
		b.ReportMetric(100*float64(cpu()-used)/float64(time.Since(began)), "%CPU-idle")

		used, began = cpu(), time.Now()
		p.fill(b, 1000, 5000)
		b.ReportMetric(time.Since(began).Seconds(), "s/5000-pods")
		b.ReportMetric((cpu() - used).Seconds(), "cpu-s/5000-pods")
		b.ReportMetric(heap()-nodes, "MB/5000-pods")

		used, began = cpu(), time.Now()
		time.Sleep(idle)
		b.ReportMetric(100*float64(cpu()-used)/float64(time.Since(began)), "%CPU-idle-5000-pods")

		began = time.Now()
		stop()
		b.ReportMetric(time.Since(began).Seconds(), "s/stop")
	}
}

// warm has the control plane do its one-time work.
func (p plane) warm(b *testing.B) {
	b.Helper()
	p.run(b, hollownode.New(hollownode.Config{NamePrefix: "warm-"}))()
}
