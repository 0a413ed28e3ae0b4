// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// runUntil runs nodes until f has cancelled them. It fails the test if Run does not
// return.
func runUntil(t *testing.T, nodes *hollownode.Nodes, config *rest.Config, f func(ready <-chan struct{}, cancel func())) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, result := make(chan struct{}), make(chan error, 1)
	go func() { result <- nodes.Run(ctx, config, func() { close(ready) }) }()
	f(ready, cancel)
	select {
	case err := <-result:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(testwait.Timeout):
		t.Fatal("Run does not return")
	}
}

func TestRunEndsWithContext(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	nodes := hollownode.New(hollownode.Config{Count: 50})
	// During the start.
	for i := range 10 {
		runUntil(t, nodes, p.server.ClientConfig(), func(ready <-chan struct{}, cancel func()) {
			select {
			case <-ready:
			case <-time.After(time.Duration(i) * 10 * time.Millisecond):
			}
			cancel()
		})
	}
	// With pods to start.
	runUntil(t, nodes, p.server.ClientConfig(), func(ready <-chan struct{}, cancel func()) {
		<-ready
		for i := range 50 {
			p.create(t, fmt.Sprint("pod-", i), fmt.Sprint("node-", i))
		}
		cancel()
	})
}

func TestRunWithoutControlPlane(t *testing.T) {
	t.Parallel()
	nodes := hollownode.New(hollownode.Config{})
	runUntil(t, nodes, &rest.Config{Host: "https://127.0.0.1:1"}, func(ready <-chan struct{}, cancel func()) {
		select {
		case <-ready:
			t.Error("ready without a control plane")
		case <-time.After(50 * time.Millisecond):
		}
		cancel()
	})
	p := start(t, controlplane.Config{})
	runUntil(t, nodes, p.server.ClientConfig(), func(ready <-chan struct{}, cancel func()) {
		<-ready
		if err := p.server.Close(); err != nil {
			t.Error(err)
		}
		cancel()
	})
}

func TestConcurrentControlPlanes(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	defer group.Wait()
	for i := range 4 {
		group.Go(func() {
			for round := range 5 {
				t.Run(fmt.Sprint(i, "-", round), func(t *testing.T) {
					p := start(t, controlplane.Config{})
					p.run(t, hollownode.New(hollownode.Config{Count: 2}))
					p.create(t, "pod", "node-1")
					p.untilPhase(t, "pod", corev1.PodRunning)
				})
			}
		})
	}
}

// TestTwoGroups runs two groups of nodes in one control plane.
func TestTwoGroups(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	p.run(t, hollownode.New(hollownode.Config{Labels: map[string]string{"pool": "a"}}))
	stop := p.run(t, hollownode.New(hollownode.Config{NamePrefix: "gpu-", Count: 2}))
	p.create(t, "a", "node-0")
	p.create(t, "b", "gpu-1")
	if a, b := p.untilPhase(t, "a", corev1.PodRunning), p.untilPhase(t, "b", corev1.PodRunning); a.Status.PodIP == "" || b.Status.PodIP == "" {
		t.Error("a pod has no address")
	}
	stop()
	p.create(t, "c", "node-0")
	p.untilPhase(t, "c", corev1.PodRunning)
}

// TestManyNodes: hundreds of nodes register and run their pods.
func TestManyNodes(t *testing.T) {
	t.Parallel()
	p := start(t, controlplane.Config{})
	const count = 300
	p.run(t, hollownode.New(hollownode.Config{Count: count}))
	list, err := p.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != count {
		t.Fatalf("got %d nodes, %v; want %d", len(list.Items), err, count)
	}
	p.fill(t, count, 2*count)
}

// fill creates pods on the nodes, and returns when all are Running and each has an
// address of its own.
func (p plane) fill(t testing.TB, nodes, pods int) {
	t.Helper()
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := w; i < pods; i += 8 {
				p.create(t, fmt.Sprint("pod-", i), fmt.Sprint("node-", i%nodes))
			}
		})
	}
	group.Wait()
	running := map[string]bool{}
	testwait.Until(t, "all pods run", func(ctx context.Context) error {
		list, err := p.CoreV1().Pods("default").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err
		}
		clear(running)
		for _, pod := range list.Items {
			if pod.Status.Phase == corev1.PodRunning {
				running[pod.Status.PodIP] = true
			}
		}
		if len(running) < pods {
			return fmt.Errorf("got %d pods, want %d", len(running), pods)
		}
		return nil
	})
}
