// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/controllers"
	"github.com/kubembed/kubembed/internal/testwait"
)

// run runs the core controllers, with a grace period, until the test ends.
func run(t *testing.T, grace time.Duration, config controllers.Config) *kubernetes.Clientset {
	t.Helper()
	t.Cleanup(controllers.SetNamespaceGracePeriod(grace))
	server := start(t)
	client := kubernetes.NewForConfigOrDie(server.ClientConfig())
	config.NewInformers = func() informers.SharedInformerFactory { return informers.NewSharedInformerFactory(client, 0) }
	config.Serves = func(r schema.GroupVersionResource) bool {
		return r.Resource != "roles" // not used here
	}
	config.WatchAPIs = func(context.Context, func()) error { return nil }
	config.APIsDiscovered = func([]*metav1.APIResourceList) bool { return true }
	config.Logger = zaptest.NewLogger(t)
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- controllers.Core(config).Run(ctx, server.ClientConfig(), func() { close(ready) })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return client
}

// No other API server, and no requests in flight.
func none() []schema.GroupVersion   { return nil }
func written(context.Context) error { return nil }

func createNamespace(t *testing.T, client kubernetes.Interface, finalizers ...string) {
	t.Helper()
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "tested"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "object", Finalizers: finalizers}}
	if _, err := client.CoreV1().ConfigMaps("tested").Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func deleteNamespace(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	if err := client.CoreV1().Namespaces().Delete(t.Context(), "tested", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func wantNamespaceGone(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	testwait.True(t, "the end of the namespace", func() bool {
		_, err := client.CoreV1().Namespaces().Get(t.Context(), "tested", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

// createAndDelete returns the time from the deletion of a namespace until it is gone.
func createAndDelete(t *testing.T, client kubernetes.Interface) time.Duration {
	t.Helper()
	createNamespace(t, client)
	began := time.Now()
	deleteNamespace(t, client)
	wantNamespaceGone(t, client)
	return time.Since(began)
}

// TestNamespaceDeletionAwaitsWrites, and nothing else.
func TestNamespaceDeletionAwaitsWrites(t *testing.T) {
	waits, ended := make(chan struct{}), make(chan struct{})
	client := run(t, time.Hour, controllers.Config{
		WaitForWrites: func(context.Context) error {
			close(waits)
			<-ended
			return nil
		},
		AggregatedAPIs: none,
	})
	createNamespace(t, client)
	deleteNamespace(t, client)
	<-waits
	// A deletion that does not wait would finish beside these requests.
	for range 100 {
		if _, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.CoreV1().ConfigMaps("tested").Get(t.Context(), "object", metav1.GetOptions{}); err != nil {
		t.Errorf("object: %v while a request is in flight, want it to remain", err)
	}
	close(ended)
	wantNamespaceGone(t, client)
}

// TestNamespaceDeletionDespiteHangingWrite: requests that hang delay it no longer than
// the grace period.
func TestNamespaceDeletionDespiteHangingWrite(t *testing.T) {
	client := run(t, 100*time.Millisecond, controllers.Config{
		WaitForWrites: func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		},
		AggregatedAPIs: none,
	})
	createAndDelete(t, client)
}

// TestNamespaceDeletionGracePeriod: other API servers get the grace period.
func TestNamespaceDeletionGracePeriod(t *testing.T) {
	const grace = time.Second
	for name, config := range map[string]controllers.Config{
		"shared etcd":         {AggregatedAPIs: none},
		"aggregated":          {WaitForWrites: written, AggregatedAPIs: func() []schema.GroupVersion { return []schema.GroupVersion{appsv1.SchemeGroupVersion} }},
		"aggregated, no news": {WaitForWrites: written, AggregatedAPIs: func() []schema.GroupVersion { return []schema.GroupVersion{{Group: "gone.example.com", Version: "v1"}} }},
	} {
		t.Run(name, func(t *testing.T) {
			client := run(t, grace, config)
			if took := createAndDelete(t, client); took < grace {
				t.Errorf("gone after %s, want at least %s", took, grace)
			}
		})
	}
}

// TestNamespaceDeletionBesideClusterScopedAPIs: an aggregated API server without
// namespaced objects gets no grace period.
func TestNamespaceDeletionBesideClusterScopedAPIs(t *testing.T) {
	client := run(t, time.Hour, controllers.Config{
		WaitForWrites: written,
		AggregatedAPIs: func() []schema.GroupVersion {
			return []schema.GroupVersion{{Group: "scheduling.k8s.io", Version: "v1"}}
		},
	})
	createAndDelete(t, client)
}

// TestNamespaceDeletionOfTheSameName: the grace period of an earlier namespace does not
// shorten that of a later one.
func TestNamespaceDeletionOfTheSameName(t *testing.T) {
	const grace = 2 * time.Second
	var first atomic.Bool
	first.Store(true)
	client := run(t, grace, controllers.Config{
		WaitForWrites: func(ctx context.Context) error {
			if first.Swap(false) {
				return nil
			}
			<-ctx.Done()
			return context.Cause(ctx)
		},
		AggregatedAPIs: none,
	})
	createAndDelete(t, client)
	if took := createAndDelete(t, client); took < grace {
		t.Errorf("gone after %s, want at least %s", took, grace)
	}
}

// TestNamespaceDeletionOfRemainingContent: the deletion goes on soon after a finalizer
// has been removed. Upstream looks again after eight seconds.
func TestNamespaceDeletionOfRemainingContent(t *testing.T) {
	client := run(t, time.Hour, controllers.Config{WaitForWrites: written, AggregatedAPIs: none})
	createNamespace(t, client, "example.com/kept")
	deleteNamespace(t, client)
	testwait.True(t, "the deletion of the object", func() bool {
		object, err := client.CoreV1().ConfigMaps("tested").Get(t.Context(), "object", metav1.GetOptions{})
		return err == nil && object.DeletionTimestamp != nil
	})
	if _, err := client.CoreV1().ConfigMaps("tested").Update(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "object"}}, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantNamespaceGone(t, client)
}

// TestNamespaceDeletionOmitsUnusedResources: a list would have the API server prepare
// them.
func TestNamespaceDeletionOmitsUnusedResources(t *testing.T) {
	unused := schema.GroupResource{Group: "example.com", Resource: "gadgets"}
	firstUse := func(_ context.Context, resource schema.GroupResource) <-chan struct{} {
		use := make(chan struct{})
		if resource != unused {
			close(use)
		}
		return use
	}
	all := []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "pods"}}},
		{GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{{Name: "gadgets"}, {Name: "widgets"}}},
	}
	want := []*metav1.APIResourceList{all[0], {GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{{Name: "widgets"}}}}
	if got := controllers.Used(t.Context(), firstUse, all); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := controllers.Used(t.Context(), nil, all); !equality.Semantic.DeepEqual(got, all) {
		t.Errorf("got %v, want %v", got, all)
	}
}
