// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// panics are in goroutines that a component has started.
var panics = map[string]func(ctx context.Context, client kubernetes.Interface) error{
	"worker": func(ctx context.Context, _ kubernetes.Interface) error {
		go wait.UntilWithContext(ctx, func(context.Context) { panic("boom") }, time.Hour)
		return nil
	},
	"event handler": func(ctx context.Context, client kubernetes.Interface) error {
		factory := informers.NewSharedInformerFactory(client, 0)
		_, err := factory.Core().V1().Namespaces().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { panic("boom") },
		})
		factory.Start(ctx.Done())
		return err
	},
}

// TestPanicInAGoroutineOfAComponent: the control plane stops, and the host continues.
func TestPanicInAGoroutineOfAComponent(t *testing.T) {
	for name, begin := range panics {
		t.Run(name, func(t *testing.T) {
			now := make(chan struct{})
			server := start(t, parts(&part{name: "bad", run: func(ctx context.Context, config *rest.Config, ready func()) error {
				ready()
				<-now
				if err := begin(ctx, kubernetes.NewForConfigOrDie(config)); err != nil {
					return err
				}
				<-ctx.Done()
				return nil
			}}))
			other := start(t, parts())
			close(now)
			<-server.Done()
			if err := server.Err(); err == nil || !strings.Contains(err.Error(), "component bad: panicked: boom") {
				t.Errorf("Err: got %v, want component bad: panicked: boom", err)
			}
			if _, err := admin(t, other).CoreV1().Namespaces().Get(t.Context(), corev1.NamespaceDefault, metav1.GetOptions{}); err != nil {
				t.Errorf("another control plane: %v", err)
			}
		})
	}
}
