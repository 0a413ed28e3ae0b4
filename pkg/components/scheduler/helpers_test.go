// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// start starts a control plane without a scheduler.
func start(t testing.TB, cfg controlplane.Config) (*rest.Config, *kubernetes.Clientset) {
	t.Helper()
	server, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	client, err := kubernetes.NewForConfig(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	return server.ClientConfig(), client
}

// run runs a scheduler and returns when it is ready. stop may be called before
// the end of the test.
func run(t testing.TB, config *rest.Config, s *scheduler.Scheduler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, config, func() { close(ready) }) }()
	stopped := false
	stop = func() {
		t.Helper()
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	select {
	case <-ready:
	case err := <-done:
		stopped = true
		t.Fatalf("Run ended before it was ready: %v", err)
	case <-time.After(testwait.Timeout):
		t.Error("the scheduler is not ready")
		stop()
	}
	t.Cleanup(stop)
	return stop
}

// newNode returns a ready node with room for cpu and 110 pods.
func newNode(name, cpu string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			Allocatable: corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse(cpu),
				corev1.ResourceMemory: resource.MustParse("64Gi"),
				corev1.ResourcePods:   resource.MustParse("110"),
			},
		},
	}
}

func createNode(t testing.TB, client kubernetes.Interface, node *corev1.Node) {
	t.Helper()
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func newPod(name, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"name": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.k8s.io/pause",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
			}},
		},
	}
}

func createPod(t testing.TB, client kubernetes.Interface, pod *corev1.Pod) {
	t.Helper()
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// nodeOf waits until a pod is bound, and returns the name of its node.
func nodeOf(t testing.TB, client kubernetes.Interface, name string) string {
	t.Helper()
	pod := untilPod(t, client, name, func(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" })
	return pod.Spec.NodeName
}

// untilPod waits until condition holds for a pod.
func untilPod(t testing.TB, client kubernetes.Interface, name string, condition func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	return testwait.Object(t, testwait.Named(client.CoreV1().RESTClient(), "pods", "default", name), &corev1.Pod{}, condition)
}

// wantEvent waits for an event about a pod, as kubectl describe shows it.
func wantEvent(t testing.TB, client kubernetes.Interface, pod, reason string) *corev1.Event {
	t.Helper()
	selector := fields.Set{"involvedObject.kind": "Pod", "involvedObject.name": pod, "reason": reason}.AsSelector()
	events := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "events", "default", selector)
	return testwait.Object(t, events, &corev1.Event{}, func(*corev1.Event) bool { return true })
}
