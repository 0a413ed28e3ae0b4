// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/controllers"
	"github.com/kubembed/kubembed/internal/testwait"
)

// TestPodCollector deletes the right pods and keeps all others.
func TestPodCollector(t *testing.T) {
	client := kubernetes.NewForConfigOrDie(start(t).ClientConfig())
	ctx, stop := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactory(client, 0)
	defer factory.Shutdown()
	defer stop()

	var want []string
	createNode(t, client, "here", corev1.ConditionTrue)
	createNode(t, client, "broken", corev1.ConditionFalse, corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute})
	createNode(t, client, "unready", corev1.ConditionFalse)
	for _, p := range []struct {
		name, node string
		phase      corev1.PodPhase
		reason     string
		deleted    bool
		collected  bool
	}{
		{name: "runs", node: "here", phase: corev1.PodRunning},
		{name: "waits"},
		{name: "orphaned", node: "gone", phase: corev1.PodRunning, collected: true},
		{name: "leaves", node: "here", phase: corev1.PodRunning, deleted: true},
		{name: "leaves-unready", node: "unready", phase: corev1.PodRunning, deleted: true},
		{name: "leaves-broken", node: "broken", phase: corev1.PodRunning, deleted: true, collected: true},
		{name: "stays-broken", node: "broken", phase: corev1.PodRunning},
		// Two of three terminated pods are kept. An evicted one is deleted first.
		{name: "ended-a", node: "here", phase: corev1.PodSucceeded},
		{name: "ended-b", node: "here", phase: corev1.PodFailed, reason: "Evicted", collected: true},
		{name: "ended-c", node: "here", phase: corev1.PodFailed},
	} {
		createPod(t, client, p.name, p.node, p.phase, p.reason)
		if p.deleted {
			if err := client.CoreV1().Pods("default").Delete(t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if !p.collected {
			want = append(want, p.name)
		}
	}
	slices.Sort(want)
	watch, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=orphaned"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()

	collect := controllers.NewPodCollector(client, factory, time.Nanosecond, 2)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	collect(ctx) // records the missing nodes
	if got := podNames(t, client); !slices.Contains(got, "orphaned") {
		t.Errorf("the pod was deleted without waiting for the node: got %v", got)
	}
	testwait.True(t, "the deletions of the first round", func() bool {
		pods, err := factory.Core().V1().Pods().Lister().List(labels.Everything())
		return err == nil && len(pods) == len(want)+1
	})
	collect(ctx)
	if got := podNames(t, client); !slices.Equal(got, want) {
		t.Errorf("pods: %v\nwant: %v", got, want)
	}
	// The pod becomes Failed, with a condition, before it is deleted.
	for event := range watch.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			t.Fatalf("%+v", event)
		}
		if pod.Status.Phase == corev1.PodFailed {
			if !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == "DeletionByPodGC"
			}) {
				t.Errorf("conditions of the orphan: %+v", pod.Status.Conditions)
			}
			break
		}
	}
}

func createNode(t *testing.T, client kubernetes.Interface, name string, ready corev1.ConditionStatus, taints ...corev1.Taint) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Taints: taints},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func createPod(t *testing.T, client kubernetes.Interface, name, node string, phase corev1.PodPhase, reason string) {
	t.Helper()
	pod, err := client.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "registry.k8s.io/pause"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if phase == "" {
		return
	}
	pod.Status.Phase, pod.Status.Reason = phase, reason
	if _, err := client.CoreV1().Pods("default").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func podNames(t *testing.T, client kubernetes.Interface) (names []string) {
	t.Helper()
	list, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	return names
}
