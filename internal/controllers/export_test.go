// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
)

// NewPodCollector has limits for tests.
func NewPodCollector(client kubernetes.Interface, factory informers.SharedInformerFactory, quarantine time.Duration, terminated int) (collect func(context.Context)) {
	c := newPodCollector(client, factory.Core().V1().Pods().Lister(), factory.Core().V1().Nodes().Lister())
	c.quarantine, c.terminated = quarantine, terminated
	return c.collect
}

type ObjectInformers = objectInformers

func NewObjectInformers(ctx context.Context, typed informers.SharedInformerFactory, client metadata.Interface, firstUse func(context.Context, schema.GroupResource) <-chan struct{}) *ObjectInformers {
	return newObjectInformers(ctx, typed, client, firstUse)
}

func (o *objectInformers) Wait() { o.wait() }

func (o *objectInformers) OnUsedLater(f func(schema.GroupResource)) { o.onUsedLater(f) }

func (o *objectInformers) Sync(ctx context.Context, resources []*metav1.APIResourceList, limit time.Duration) bool {
	return o.sync(ctx, resources, limit)
}

// Knows reports whether there is an informer of the resource.
func (o *objectInformers) Knows(resource schema.GroupVersionResource) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.objects[resource] != nil
}

func (o *objectInformers) Users(resource schema.GroupVersionResource) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.objects[resource].users
}

// SetNamespaceGracePeriod must not be called while controllers run.
func SetNamespaceGracePeriod(d time.Duration) (restore func()) {
	before := namespaceGracePeriod
	namespaceGracePeriod = d
	return func() { namespaceGracePeriod = before }
}

// Used returns the resources that may have objects.
func Used(ctx context.Context, firstUse func(context.Context, schema.GroupResource) <-chan struct{}, all []*metav1.APIResourceList) []*metav1.APIResourceList {
	return (&run{ctx: ctx, Config: Config{FirstUse: firstUse}}).used(all)
}
