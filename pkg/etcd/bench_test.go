// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// BenchmarkStart starts on an empty directory.
func BenchmarkStart(b *testing.B) {
	for _, ephemeral := range []bool{true, false} {
		b.Run(kind(ephemeral), func(b *testing.B) {
			for b.Loop() {
				m := start(b, etcd.Config{Dir: b.TempDir(), Ephemeral: ephemeral})
				b.StopTimer()
				closeMember(b, m)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkRestart starts on a directory with data, which is checked first.
func BenchmarkRestart(b *testing.B) {
	for _, keys := range []int{10, 20_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			dir := b.TempDir()
			m := start(b, etcd.Config{Dir: dir, Ephemeral: true})
			value := string(bytes.Repeat([]byte("v"), 2<<10))
			for i := range keys {
				put(b, m.Client(), fmt.Sprintf("/registry/%d", i), value)
			}
			closeMember(b, m)
			for b.Loop() {
				m := start(b, etcd.Config{Dir: dir})
				b.StopTimer()
				closeMember(b, m)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkClose(b *testing.B) {
	for _, ephemeral := range []bool{true, false} {
		b.Run(kind(ephemeral), func(b *testing.B) {
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				m := start(b, etcd.Config{Dir: b.TempDir(), Ephemeral: ephemeral})
				put(b, m.Client(), "k", "v")
				b.StartTimer()
				began := time.Now()
				closeMember(b, m)
				spent += time.Since(began)
			}
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "µs/close")
		})
	}
}

func BenchmarkPutDurable(b *testing.B) {
	m := start(b, etcd.Config{Dir: b.TempDir()})
	defer closeMember(b, m)
	for b.Loop() {
		put(b, m.Client(), "k", "v")
	}
}

func BenchmarkPutEphemeral(b *testing.B) {
	m := start(b, etcd.Config{Dir: b.TempDir(), Ephemeral: true})
	defer closeMember(b, m)
	for b.Loop() {
		put(b, m.Client(), "k", "v")
	}
}

func kind(ephemeral bool) string {
	if ephemeral {
		return "ephemeral"
	}
	return "durable"
}
