// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// plane is a control plane with a client of its administrator.
type plane struct {
	*kubernetes.Clientset
	config *rest.Config
}

// start starts a control plane in which pods need no service account.
func start(t testing.TB, cfg controlplane.Config) plane {
	t.Helper()
	cfg.DisableAdmissionPlugins = append(cfg.DisableAdmissionPlugins, "ServiceAccount")
	server, err := controlplane.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return plane{kubernetes.NewForConfigOrDie(server.ClientConfig()), server.ClientConfig()}
}

type component interface {
	Name() string
	Run(ctx context.Context, config *rest.Config, ready func()) error
}

// run runs a component and returns when it is ready. It stops the component at the end of
// the test, or when stop is called.
func (p plane) run(t testing.TB, c component) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- c.Run(ctx, p.config, func() { close(ready) }) }()
	stopped := false
	stop = func() {
		t.Helper()
		cancel()
		if stopped {
			return
		}
		stopped = true
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", c.Name(), err)
			}
		case <-time.After(testwait.Timeout):
			t.Errorf("%s does not end", c.Name())
		}
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		stopped = true
		t.Fatalf("%s ended before it was ready: %v", c.Name(), err)
	case <-time.After(testwait.Timeout):
		t.Fatalf("%s is not ready", c.Name())
	}
	return stop
}

// cluster is a control plane with a scheduler, simulated nodes, and controllers.
func cluster(t testing.TB, nodes hollownode.Config, cfg controllers.Config) (plane, *hollownode.Nodes) {
	t.Helper()
	p := start(t, controlplane.Config{})
	p.run(t, controllers.New(cfg))
	p.run(t, scheduler.New(scheduler.Config{}))
	workers := hollownode.New(nodes)
	p.run(t, workers)
	return p, workers
}

// pods returns the pods of an app in the namespace default that are not being deleted.
func (p plane) pods(t testing.TB, app string) (pods []corev1.Pod) {
	t.Helper()
	list, err := p.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// labels, selector and template return the labels, the selector and the pod template of
// an app.
func labels(app string) map[string]string { return map[string]string{"app": app} }

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: labels(app)}
}

func template(app, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels(app)},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers:                    []corev1.Container{{Name: "main", Image: image}},
		},
	}
}

func meta(app string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: app, Namespace: "default", Labels: labels(app)}
}
