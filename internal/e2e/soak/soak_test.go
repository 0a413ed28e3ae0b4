// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package soak starts and stops control planes many times in one process, and checks
// that goroutines, open files and memory do not grow.
//
// It is a package of its own to have a process of its own: other tests would leave
// memory behind that distorts the figures.
package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

const (
	// warmUp is the number of rounds after which everything that is created once
	// exists.
	warmUp = 20
	rounds = 200

	// The growth that is allowed between warmUp and the last round. A control plane has
	// some 60 MB and 2,000 goroutines: a leak in each round is a small part of that,
	// and much more than this after all rounds.
	goroutinesMore = 5
	filesMore      = 2
	heapMore       = 9 << 20 // 50 kB for each round
)

// TestStartAndStopEverything repeatedly starts a control plane with all components,
// creates a Deployment, and stops the control plane.
func TestStartAndStopEverything(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	var started, stopped time.Duration
	var baseline figures
	for i := range rounds {
		start, stop := round(t)
		started, stopped = started+start, stopped+stop
		switch i + 1 {
		case 1:
			t.Logf("after 1: %+v", measure(t, 0))
		case warmUp:
			baseline = measure(t, 0)
			t.Logf("after %d: %+v", warmUp, baseline)
		}
	}
	final := measure(t, baseline.goroutines+goroutinesMore)
	t.Logf("after %d: %+v; start %s, stop %s on average", rounds, final, started/rounds, stopped/rounds)
	if final.goroutines > baseline.goroutines+goroutinesMore {
		stacks := &strings.Builder{}
		all, err := lifecycle.AllGoroutines()
		if err != nil {
			t.Error(err)
		}
		for _, g := range all {
			fmt.Fprintf(stacks, "%d: %s\n", g.Count, strings.Join(g.Stack, " < "))
		}
		t.Errorf("got %d goroutines, want about %d as before:\n%s", final.goroutines, baseline.goroutines, stacks)
	}
	if final.files > baseline.files+filesMore {
		t.Errorf("got %d open files, want about %d as before", final.files, baseline.files)
	}
	if final.heap > baseline.heap+heapMore {
		t.Errorf("got %d bytes of heap, want about %d as before", final.heap, baseline.heap)
	}
}

// round runs one control plane, and returns the durations of its start and stop.
func round(t *testing.T) (start, stop time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	server, err := controlplane.Start(ctx, controlplane.Config{Components: []controlplane.Component{
		controllers.New(controllers.Config{PodCIDR: "10.244.0.0/16"}),
		hollownode.New(hollownode.Config{Count: 3}),
		scheduler.New(scheduler.Config{}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	start = time.Since(began)
	deploy(ctx, t, server)
	began = time.Now()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	return start, time.Since(began)
}

// deploy creates a Deployment, and returns when it is available.
func deploy(ctx context.Context, t *testing.T, server *controlplane.Server) {
	t.Helper()
	client, err := kubernetes.NewForConfig(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	deployments := client.AppsV1().Deployments("default")
	watch, err := deployments.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	replicas, labels := int32(3), map[string]string{"app": "web"}
	if _, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx:latest"}}},
			},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for event := range watch.ResultChan() {
		if d, ok := event.Object.(*appsv1.Deployment); ok && d.Status.AvailableReplicas == replicas {
			return
		}
	}
	t.Fatal("the Deployment is not available:", ctx.Err())
}

// figures are the figures of the process.
type figures struct {
	goroutines, files int
	heap              uint64 // bytes
}

// measure waits for upstream's timers, which take seconds, until the number of
// goroutines is at most enough.
func measure(t *testing.T, enough int) figures {
	t.Helper()
	_ = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 5*time.Second, true, func(context.Context) (bool, error) {
		return runtime.NumGoroutine() <= enough, nil
	})
	var memory runtime.MemStats
	for range 3 { // also for objects that finalizers hold
		runtime.GC()
	}
	runtime.ReadMemStats(&memory)
	return figures{runtime.NumGoroutine(), openFiles(t), memory.HeapAlloc}
}

// openFiles returns the number of open files, or zero on systems without /proc.
func openFiles(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	open := 0
	for _, file := range files {
		// The file that Glob used to read the directory is closed.
		if _, err := os.Lstat(file); err == nil {
			open++
		}
	}
	return open
}
