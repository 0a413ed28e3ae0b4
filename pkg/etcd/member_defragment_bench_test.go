// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// BenchmarkDefragment measures the longest wait of a writer while the database is
// defragmented.
func BenchmarkDefragment(b *testing.B) {
	for _, megabytes := range []int{10, 100} {
		b.Run(fmt.Sprintf("%dMB", megabytes), func(b *testing.B) {
			m, err := etcd.Start(b.Context(), etcd.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			// Objects of the size of pods.
			value := make([]byte, 4000)
			for i := range value {
				value[i] = byte(rand.Uint32())
			}
			for i := range megabytes * 250 {
				if _, err := m.Client().Put(b.Context(), fmt.Sprintf("/registry/%08d", i), string(value)); err != nil {
					b.Fatal(err)
				}
			}
			var longest time.Duration
			for b.Loop() {
				ended := make(chan error)
				go func() {
					_, err := m.Client().Defragment(b.Context(), "")
					ended <- err
				}()
				for done := false; !done; {
					begun := time.Now()
					if _, err := m.Client().Put(b.Context(), "/registry/writer", "x"); err != nil {
						b.Fatal(err)
					}
					longest = max(longest, time.Since(begun))
					select {
					case err := <-ended:
						if err != nil {
							b.Fatal(err)
						}
						done = true
					default:
					}
				}
			}
			b.ReportMetric(float64(longest.Milliseconds()), "pause-ms")
		})
	}
}
