// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/kubembed/kubembed/internal/controllers"
	"github.com/kubembed/kubembed/internal/testwait"
)

// TestInformerStopsWithLastUser: the informer of a kind stops with its last user, and the
// next user gets a new one.
func TestInformerStopsWithLastUser(t *testing.T) {
	config := start(t).ClientConfig()
	client := kubernetes.NewForConfigOrDie(config)
	ctx, stop := context.WithCancel(t.Context())
	typed := informers.NewSharedInformerFactory(client, 0)
	all := controllers.NewObjectInformers(ctx, typed, metadata.NewForConfigOrDie(config), nil)
	defer typed.Shutdown()
	defer all.Wait()
	defer stop()

	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "one", Labels: map[string]string{"big": "label"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	resource := corev1.SchemeGroupVersion.WithResource("configmaps")
	first, err := all.ForResource(resource)
	if err != nil {
		t.Fatal(err)
	}
	all.Start(ctx.Done())
	testwait.True(t, "sync", first.Informer().HasSynced)
	list, err := first.Lister().List(labels.Everything())
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, object := range list {
		if o := object.(*metav1.PartialObjectMetadata); o.Labels != nil || o.UID == "" {
			t.Errorf("got labels or no UID: %+v", o)
		}
	}

	var running sync.WaitGroup
	ends := []chan struct{}{make(chan struct{}), make(chan struct{})}
	done := []chan struct{}{make(chan struct{}), make(chan struct{})}
	controller := first.Informer().GetController()
	for i := range ends {
		running.Go(func() {
			defer close(done[i])
			controller.Run(ends[i])
		})
	}
	// Both are running before the first one ends.
	testwait.True(t, "two users", func() bool { return all.Users(resource) == 2 })
	close(ends[0])
	<-done[0]
	if again, err := all.ForResource(resource); err != nil || again != first {
		t.Errorf("got another informer while one user remains: %v", err)
	}
	close(ends[1])
	running.Wait()
	testwait.True(t, "the end of the informer", first.Informer().IsStopped)
	second, err := all.ForResource(resource)
	if err != nil || second == first {
		t.Fatalf("got the stopped informer: %v", err)
	}
	all.Start(ctx.Done())
	testwait.True(t, "the new informer", second.Informer().HasSynced)
}

// TestInformerStartsWithFirstUse: before, it counts as synced without objects, and it
// stops without having run.
func TestInformerStartsWithFirstUse(t *testing.T) {
	config := start(t).ClientConfig()
	client := kubernetes.NewForConfigOrDie(config)
	ctx, stop := context.WithCancel(t.Context())
	typed := informers.NewSharedInformerFactory(client, 0)
	used := make(chan struct{})
	all := controllers.NewObjectInformers(ctx, typed, metadata.NewForConfigOrDie(config), func(_ context.Context, resource schema.GroupResource) <-chan struct{} {
		if resource.Resource == "events" {
			return make(chan struct{})
		}
		return used
	})
	defer typed.Shutdown()
	defer all.Wait()
	defer stop()
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	informer, err := all.ForResource(corev1.SchemeGroupVersion.WithResource("configmaps"))
	if err != nil {
		t.Fatal(err)
	}
	never, err := all.ForResource(corev1.SchemeGroupVersion.WithResource("events"))
	if err != nil {
		t.Fatal(err)
	}
	all.Start(ctx.Done())
	for _, i := range []informers.GenericInformer{informer, never} {
		if !i.Informer().HasSynced() || !i.Informer().GetController().HasSynced() {
			t.Error("the informer of an unused resource has not synced")
		}
		// The storage version migrator compares it with the resource version of a list.
		version := i.Informer().GetController().LastSyncResourceVersion()
		if order, err := resourceversion.CompareResourceVersion(version, "1000000000"); err != nil || order <= 0 {
			t.Errorf("an unused resource is synced up to resource version %q: %v", version, err)
		}
	}
	if keys := informer.Informer().GetStore().ListKeys(); len(keys) > 0 {
		t.Errorf("got objects %v before the first use", keys)
	}
	later := make(chan schema.GroupResource, 1)
	all.OnUsedLater(func(resource schema.GroupResource) { later <- resource })
	close(used)
	if got, want := <-later, (schema.GroupResource{Resource: "configmaps"}); got != want || !informer.Informer().HasSynced() {
		t.Errorf("the first use of %s was reported, want %s, after its sync", got, want)
	}
	testwait.True(t, "sync", func() bool {
		version := informer.Informer().GetController().LastSyncResourceVersion()
		if _, err := resourceversion.CompareResourceVersion(version, "1"); err != nil || len(version) > 9 {
			t.Errorf("the resource version is %q: %v", version, err)
		}
		return len(informer.Informer().GetStore().ListKeys()) > 0 && informer.Informer().HasSynced()
	})
}
