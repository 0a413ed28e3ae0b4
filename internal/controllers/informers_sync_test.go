// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/kubembed/kubembed/internal/controllers"
	"github.com/kubembed/kubembed/internal/testwait"
)

// TestSyncOfMissingKind: a kind that has gone since its discovery does not hold up the
// others, and its informer, which no controller has used, ends with the next discovery.
func TestSyncOfMissingKind(t *testing.T) {
	config := start(t).ClientConfig()
	ctx, stop := context.WithCancel(t.Context())
	typed := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 0)
	all := controllers.NewObjectInformers(ctx, typed, metadata.NewForConfigOrDie(config), nil)
	defer typed.Shutdown()
	defer all.Wait()
	defer stop()

	verbs := metav1.Verbs{"delete", "list", "watch"}
	existing := &metav1.APIResourceList{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{{Name: "deployments", Verbs: verbs}}}
	missing := &metav1.APIResourceList{GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{{Name: "widgets", Verbs: verbs}}}
	synced := make(chan bool, 1)
	go func() { synced <- all.Sync(ctx, []*metav1.APIResourceList{missing, existing}, time.Hour) }()
	testwait.True(t, "the sync", func() bool { return len(synced) == 1 })
	if !<-synced {
		t.Error("got false, want true")
	}
	deployments, err := all.ForResource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"})
	if err != nil {
		t.Fatal(err)
	}
	if !deployments.Informer().HasSynced() {
		t.Error("deployments have not synced")
	}
	widgets := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}
	if !all.Knows(widgets) {
		t.Error("the informer of the missing kind has gone before the next discovery")
	}
	all.Sync(ctx, []*metav1.APIResourceList{existing}, time.Hour)
	if all.Knows(widgets) {
		t.Error("the informer of the missing kind runs on")
	}
}
