// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// plane is a control plane with a client of its administrator.
type plane struct {
	*kubernetes.Clientset
	server *controlplane.Server
}

func start(t testing.TB, cfg controlplane.Config) plane {
	t.Helper()
	server, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return plane{kubernetes.NewForConfigOrDie(server.ClientConfig()), server}
}

// run runs nodes until stop is called or the test ends. It returns when they are ready.
func (p plane) run(t testing.TB, nodes *hollownode.Nodes) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, result := make(chan struct{}), make(chan error, 1)
	go func() { result <- nodes.Run(ctx, p.server.ClientConfig(), func() { close(ready) }) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-result:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(testwait.Timeout):
			t.Error("Run does not return")
		}
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-result:
		stopped = true
		t.Fatalf("Run ended before it was ready: %v", err)
	case <-time.After(testwait.Timeout):
		t.Fatal("the nodes are not ready")
	}
	return stop
}

// podNamed lists and watches a pod.
func (p plane) podNamed(name string) cache.ListerWatcher {
	return testwait.Named(p.CoreV1().RESTClient(), "pods", "default", name)
}

func (p plane) untilPod(t testing.TB, name string, condition func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	return testwait.Object(t, p.podNamed(name), &corev1.Pod{}, condition)
}

func (p plane) untilPhase(t testing.TB, name string, phase corev1.PodPhase) *corev1.Pod {
	t.Helper()
	return p.untilPod(t, name, func(pod *corev1.Pod) bool { return pod.Status.Phase == phase })
}

// untilGone waits until the pod is deleted.
func (p plane) untilGone(t testing.TB, name string) {
	t.Helper()
	testwait.Gone(t, p.podNamed(name), &corev1.Pod{})
}

// untilReady waits until a node is Ready.
func (p plane) untilReady(t testing.TB, name string) {
	t.Helper()
	testwait.Object(t, testwait.Named(p.CoreV1().RESTClient(), "nodes", "", name), &corev1.Node{}, ready)
}

// create creates a pod on node.
func (p plane) create(t testing.TB, name, node string, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "main", Image: "registry.k8s.io/pause"}},
		},
	}
	for _, f := range change {
		f(pod)
	}
	created, err := p.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func (p plane) delete(t testing.TB, name string, grace *int64) {
	t.Helper()
	if err := p.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: grace}); err != nil {
		t.Fatal(err)
	}
}

func annotate(annotation, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations[annotation] = value }
}

func restart(policy corev1.RestartPolicy) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.RestartPolicy = policy }
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return ""
}
