// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// hold is a plugin that has pods wait for ten minutes before they are bound.
type hold struct{ waiting chan string }

func (hold) Name() string { return "Hold" }

func (h hold) Permit(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, _ string) (*fwk.Status, time.Duration) {
	h.waiting <- pod.Name
	return fwk.NewStatus(fwk.Wait), 10 * time.Minute
}

func TestStopRejectsPodsWaitingForPermit(t *testing.T) {
	config, client := start(t, controlplane.Config{})
	createNode(t, client, newNode("a", "8"))
	h := hold{make(chan string, 1)}
	stop := run(t, config, scheduler.New(scheduler.Config{
		Configuration: &configv1.KubeSchedulerConfiguration{Profiles: []configv1.KubeSchedulerProfile{{
			Plugins: &configv1.Plugins{Permit: configv1.PluginSet{Enabled: []configv1.Plugin{{Name: "Hold"}}}},
		}}},
		Plugins: frameworkruntime.Registry{"Hold": func(context.Context, apiruntime.Object, fwk.Handle) (fwk.Plugin, error) { return h, nil }},
	}))
	createPod(t, client, newPod("held", "1"))
	<-h.waiting
	stop() // Run returns an error if a goroutine still waits for the pod
	pod, err := client.CoreV1().Pods("default").Get(t.Context(), "held", metav1.GetOptions{})
	if err != nil || pod.Spec.NodeName != "" || len(pod.Status.Conditions) != 0 {
		t.Errorf("after the stop: %v, node %q, conditions %v", err, pod.Spec.NodeName, pod.Status.Conditions)
	}

	// Another scheduler takes over where this one was stopped.
	run(t, config, scheduler.New(scheduler.Config{}))
	nodeOf(t, client, "held")
}

func TestRunErrorNamesUnservedResources(t *testing.T) {
	config, _ := start(t, controlplane.Config{RuntimeConfig: map[string]string{"apps/v1": "false"}})
	err := scheduler.New(scheduler.Config{}).Run(t.Context(), config, func() { t.Error("ready") })
	if err == nil || !strings.Contains(err.Error(), "does not serve apps/v1/replicasets, apps/v1/statefulsets") {
		t.Errorf("Run: got %v, want an error that names the resources", err)
	}
}

func TestStartAndStopManyTimes(t *testing.T) {
	times := 200
	if testing.Short() {
		times = 20
	}
	config, client := start(t, controlplane.Config{})
	createNode(t, client, newNode("a", "64"))
	s := scheduler.New(scheduler.Config{})
	var goroutines, files int
	var heap uint64
	start := time.Now()
	for i := range times {
		stop := run(t, config, s)
		name := fmt.Sprint("pod-", i)
		createPod(t, client, newPod(name, "1m"))
		nodeOf(t, client, name)
		if err := client.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		stop()
		if i == times/10 {
			goroutines, files, heap = goroutinesAtRest(t, math.MaxInt), openFiles(), heapInUse()
		}
	}
	average := time.Since(start) / time.Duration(times)
	now := goroutinesAtRest(t, goroutines+10)
	t.Logf("%v each; goroutines %d, then %d; files %d, then %d; heap %d KiB, then %d KiB", average,
		goroutines, now, files, openFiles(), heap>>10, heapInUse()>>10)
	if now > goroutines+10 {
		t.Errorf("got %d goroutines at the end, want at most %d", now, goroutines+10)
	}
	if now := openFiles(); now > files {
		t.Errorf("got %d open files at the end, want at most %d", now, files)
	}
	// The watch cache and etcd of the control plane keep each write.
	if now, limit := heapInUse(), heap+uint64(times)*100<<10; now > limit {
		t.Errorf("got %d KiB of heap at the end, want at most %d KiB", now>>10, limit>>10)
	}
}

// goroutinesAtRest returns the number of goroutines when it is at most limit and the
// recorders of metrics have ended, which takes them up to a second, or after ten seconds.
func goroutinesAtRest(t *testing.T, limit int) int {
	t.Helper()
	_ = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		stacks := make([]byte, 8<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return runtime.NumGoroutine() <= limit && !strings.Contains(string(stacks), "MetricAsyncRecorder"), nil
	})
	return runtime.NumGoroutine()
}

func openFiles() int {
	entries, _ := os.ReadDir("/proc/self/fd") // Linux only
	return len(entries)
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestSchedulerRunsForSeveralControlPlanes(t *testing.T) {
	s := scheduler.New(scheduler.Config{})
	var all sync.WaitGroup
	for i := range 3 {
		config, client := start(t, controlplane.Config{})
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx, config, func() {}) }()
			node := fmt.Sprint("node-", i)
			if _, err := client.CoreV1().Nodes().Create(ctx, newNode(node, "1"), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
			if _, err := client.CoreV1().Pods("default").Create(ctx, newPod("pod", "1"), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
			err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, testwait.Timeout, true, func(ctx context.Context) (bool, error) {
				pod, err := client.CoreV1().Pods("default").Get(ctx, "pod", metav1.GetOptions{})
				return err == nil && pod.Spec.NodeName == node, nil
			})
			if err != nil {
				t.Errorf("the pod is not bound to %s: %v", node, err)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestRunReportsAnUnusableClient(t *testing.T) {
	err := scheduler.New(scheduler.Config{}).Run(t.Context(), &rest.Config{Host: "::"}, func() { t.Error("ready") })
	if err == nil || !strings.HasPrefix(err.Error(), "scheduler: client: ") {
		t.Errorf("Run: got %v, want an error of the client", err)
	}
}
