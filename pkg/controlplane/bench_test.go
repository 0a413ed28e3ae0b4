// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func BenchmarkStartToFirstPod(b *testing.B) {
	for _, c := range []struct {
		name string
		off  bool
	}{{"controllers", false}, {"none", true}} {
		b.Run(c.name, func(b *testing.B) { startToFirstPod(b, controlplane.Config{DisableCoreControllers: c.off}) })
	}
}

func startToFirstPod(b *testing.B, cfg controlplane.Config) {
	for b.Loop() {
		server := startBench(b, cfg)
		createPod(b, admin(b, server), "first")
		b.StopTimer()
		closeServer(b, server)
		b.StartTimer()
	}
	reportMs(b)
}

func BenchmarkStop(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		server := startBench(b, controlplane.Config{})
		b.StartTimer()
		closeServer(b, server)
	}
	reportMs(b)
}

func BenchmarkStopWithWatches(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		server := startBench(b, controlplane.Config{})
		for i := range 100 {
			client := admin(b, server)
			if i%2 == 0 {
				client = overTLS(b, server, fmt.Sprint("user-", i), "system:masters")
			}
			if _, err := client.CoreV1().Pods("").Watch(context.Background(), metav1.ListOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		closeServer(b, server)
	}
	reportMs(b)
}

func BenchmarkCreatePod(b *testing.B) {
	client := admin(b, start(b, controlplane.Config{}))
	var n atomic.Int64
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			pod := newPod(fmt.Sprint("pod-", n.Add(1)))
			if _, err := client.CoreV1().Pods("default").Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

func startBench(b *testing.B, cfg controlplane.Config) *controlplane.Server {
	b.Helper()
	server, err := controlplane.Start(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	return server
}

func reportMs(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed())/float64(time.Millisecond)/float64(b.N), "ms/op")
	b.ReportMetric(0, "ns/op") // says the same
}
