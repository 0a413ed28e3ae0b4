// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
)

// TestSchedulerIsOneFlag: after a restart with --scheduler, a Pending pod without
// nodeName runs on a node that was registered before.
func TestSchedulerIsOneFlag(t *testing.T) {
	dataDir := "--data-dir=" + filepath.Join(t.TempDir(), "data")
	m := start(t, dataDir)
	want(t, m, "stays Pending, as there is no scheduler")
	client, _ := m.client(t, adminFile)
	register(t, client)
	applyUnbound(t, client)
	m.end(t)

	m = start(t, dataDir, "--scheduler", "--controllers")
	want(t, m, "The scheduler chooses a node", "rollout status deployment web")
	client, _ = m.client(t, adminFile)
	waitPod(t, client, "nginx-unbound", func(pod *corev1.Pod) bool { return pod.Spec.NodeName == "worker0" })
	m.worker(t)
	waitRunning(t, client, "nginx-unbound")
}

// register registers a node as a kubelet does, without changes to taints.
func register(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker0"}}
	node.Status.Capacity = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("110")}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestSchedulerAndControllers(t *testing.T) {
	m := start(t, "--scheduler", "--controllers")
	// Without nodes it would wait forever.
	if text := m.stdout.String(); strings.Contains(text, "rollout status") {
		t.Errorf("rollout status without a node:\n%s", text)
	}
	want(t, m, "The scheduler chooses a node", "make the pods of a Deployment, which are Pending until a worker has joined:")
	client := m.worker(t)
	applyUnbound(t, client)
	waitRunning(t, client, "nginx-unbound")
	deploy(t, client)
	waitDeployment(t, client, "web", func(d *appsv1.Deployment) bool { return d.Status.AvailableReplicas == 3 })
}

func TestControllersWithoutScheduler(t *testing.T) {
	m := start(t, "--controllers")
	want(t, m, "stays Pending, as there is no scheduler", "make the pods of a Deployment, which stay Pending too:")
	client := m.worker(t)
	deploy(t, client)
	waitDeployment(t, client, "web", func(d *appsv1.Deployment) bool { return d.Status.Replicas == 3 })
}

// worker runs worker0, a simulated worker of the master, until the end of the test.
func (m *master) worker(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, config := m.client(t, adminFile)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- hollownode.New(hollownode.Config{NamePrefix: "worker"}).Run(ctx, config, func() { close(ready) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("the worker is not ready")
	}
	return client
}

// applyUnbound creates the pod without nodeName of the walk.
func applyUnbound(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	pod := seed(t, "unbound")
	created, err := client.CoreV1().Pods("default").Create(t.Context(), &pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.Spec.NodeName != "" || created.Status.Phase != corev1.PodPending {
		t.Errorf("got the pod %s on %q, want it Pending without a node", created.Status.Phase, created.Spec.NodeName)
	}
}

// deploy creates the Deployment of the printed kubectl command.
func deploy(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	replicas, labels := int32(3), map[string]string{"app": "web"}
	_, err := client.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "nginx:latest"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func waitRunning(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	waitPod(t, client, name, func(pod *corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodRunning && pod.Spec.NodeName == "worker0"
	})
}

func waitPod(t *testing.T, client kubernetes.Interface, name string, done func(*corev1.Pod) bool) {
	t.Helper()
	testwait.Object(t, testwait.Named(client.CoreV1().RESTClient(), "pods", "default", name), &corev1.Pod{}, done)
}

func waitDeployment(t *testing.T, client kubernetes.Interface, name string, done func(*appsv1.Deployment) bool) {
	t.Helper()
	testwait.Object(t, testwait.Named(client.AppsV1().RESTClient(), "deployments", "default", name), &appsv1.Deployment{}, done)
}

func want(t *testing.T, m *master, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(m.stdout.String(), text) {
			t.Errorf("%q is not in:\n%s", text, m.stdout)
		}
	}
}
