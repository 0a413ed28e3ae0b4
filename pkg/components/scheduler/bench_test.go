// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// BenchmarkSchedule1000PodsOn100Nodes measures the time from the start of the
// scheduler, with all pods waiting, until each has a node.
func BenchmarkSchedule1000PodsOn100Nodes(b *testing.B) {
	const nodes, pods = 100, 1000
	var total time.Duration
	for b.Loop() {
		total += scheduleAll(b, nodes, pods)
	}
	b.ReportMetric(float64(b.N*pods)/total.Seconds(), "pods/s")
}

func scheduleAll(b *testing.B, nodes, pods int) time.Duration {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	server, err := controlplane.Start(ctx, controlplane.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	config := server.ClientConfig()
	config.ContentType = apiruntime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	for i := range nodes {
		createNode(b, client, newNode(fmt.Sprint("node-", i), "16"))
	}
	list, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	watch, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		b.Fatal(err)
	}
	defer watch.Stop()
	for i := range pods {
		createPod(b, client, newPod(fmt.Sprint("pod-", i), "100m"))
	}
	began := time.Now()
	run(b, config, scheduler.New(scheduler.Config{}))
	bound := map[string]bool{}
	for len(bound) < pods {
		event, ok := <-watch.ResultChan()
		if !ok {
			b.Fatalf("the watch has ended with %d bound", len(bound))
		}
		if pod, ok := event.Object.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			bound[pod.Name] = true
		}
	}
	return time.Since(began)
}

// BenchmarkStart measures the time until a scheduler is ready, and until it has
// stopped, and the memory of one that has nothing to do.
func BenchmarkStart(b *testing.B) {
	config, _ := start(b, controlplane.Config{})
	s := scheduler.New(scheduler.Config{})
	var stopping time.Duration
	for b.Loop() {
		stop := run(b, config, s)
		began := time.Now()
		stop()
		stopping += time.Since(began)
	}
	b.ReportMetric(float64(stopping.Milliseconds())/float64(b.N), "ms-stop/op")
	const several = 10
	before, goroutines := heapInUse(), runtime.NumGoroutine()
	runMany(b, config, s, several, func() {
		b.ReportMetric((float64(heapInUse())-float64(before))/several/(1<<20), "MiB-idle")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/several, "goroutines-idle")
	})
}

// runMany calls f while n schedulers run.
func runMany(b *testing.B, config *rest.Config, s *scheduler.Scheduler, n int, f func()) {
	ctx, cancel := context.WithCancel(b.Context())
	var ready, done sync.WaitGroup
	for range n {
		ready.Add(1)
		done.Go(func() {
			if err := s.Run(ctx, config, ready.Done); err != nil {
				b.Error(err)
			}
		})
	}
	ready.Wait()
	f()
	cancel()
	done.Wait()
}
