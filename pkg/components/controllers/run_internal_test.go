// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// A controller that panics, in any of its goroutines, ends the run with an error that
// names it, and not the process.
func TestPanicEndsRun(t *testing.T) {
	server, err := controlplane.Start(t.Context(), controlplane.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	ended := func(ctx context.Context) { <-ctx.Done() }

	for name, bad := range map[string]controller{
		"where it is made": {build: func(context.Context, *environment) (func(context.Context), error) {
			panic("boom")
		}},
		"where it runs": {build: func(context.Context, *environment) (func(context.Context), error) {
			return func(context.Context) { panic("boom") }, nil
		}},
		"in a worker": {build: func(context.Context, *environment) (func(context.Context), error) {
			return func(ctx context.Context) {
				var workers wait.Group
				workers.Start(func() {
					wait.UntilWithContext(ctx, func(context.Context) { panic("boom") }, time.Hour)
				})
				workers.Wait()
			}, nil
		}},
		"in an event handler": {build: func(_ context.Context, e *environment) (func(context.Context), error) {
			_, err := e.informers.Core().V1().Namespaces().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
				AddFunc: func(any) { panic("boom") },
			})
			return ended, err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bad.name = "bad-controller"
			good := controller{name: "good-controller", build: func(context.Context, *environment) (func(context.Context), error) {
				return ended, nil
			}}
			err := newRun(t, time.Minute).run(t.Context(), server.ClientConfig(), []controller{good, bad}, func() {})
			if err == nil || !strings.Contains(err.Error(), "panicked: boom") {
				t.Errorf("got error %v, want a panic with boom", err)
			}
			// Upstream's event handlers do not name their controller.
			if name != "in an event handler" && !strings.Contains(err.Error(), "bad-controller") {
				t.Errorf("the error does not name the controller: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "goroutines are still running") {
				t.Error(err)
			}
		})
	}
	client := kubernetes.NewForConfigOrDie(server.ClientConfig())
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), corev1.NamespaceDefault, metav1.GetOptions{}); err != nil {
		t.Errorf("the control plane does not answer: %v", err)
	}
}

func TestErrorNamesControllerThatDoesNotStop(t *testing.T) {
	server, err := controlplane.Start(t.Context(), controlplane.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	release := make(chan struct{})
	blocked := controller{name: "blocked-controller", build: func(context.Context, *environment) (func(context.Context), error) {
		return func(context.Context) { <-release }, nil
	}}
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	err = newRun(t, time.Millisecond).run(ctx, server.ClientConfig(), []controller{blocked}, cancel)
	if err == nil || !strings.Contains(err.Error(), "blocked-controller") {
		t.Errorf("got error %v, want the name of the controller in it", err)
	}
}

func newRun(t *testing.T, stopTimeout time.Duration) *run {
	t.Helper()
	settings, err := Config{}.clone().settings()
	if err != nil {
		t.Fatal(err)
	}
	return &run{settings: settings, logger: zap.NewNop(), stopTimeout: stopTimeout, running: map[string]bool{}}
}
