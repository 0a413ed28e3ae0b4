// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package etcd_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// BenchmarkIdle reports the CPU time per second of a member without requests. Run it with
// -benchtime=1x.
func BenchmarkIdle(b *testing.B) {
	m := start(b, etcd.Config{Dir: b.TempDir()})
	defer closeMember(b, m)
	const window = 10 * time.Second
	for b.Loop() {
		before := cpu(b)
		time.Sleep(window)
		b.ReportMetric(float64((cpu(b)-before).Microseconds())/window.Seconds(), "µs-cpu/s")
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
