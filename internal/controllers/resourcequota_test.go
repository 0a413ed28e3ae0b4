// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// TestQuotaOfNewKind: when a kind is known, the quotas that count it are computed. They
// were wrong until the next resync.
func TestQuotaOfNewKind(t *testing.T) {
	t.Parallel()
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	informer := quotaInformer{ResourceQuotaInformer: factory.Core().V1().ResourceQuotas()}
	informer.handling.SharedIndexInformer = informer.ResourceQuotaInformer.Informer()
	var computed []string
	if _, err := informer.Informer().AddEventHandlerWithResyncPeriod(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { computed = append(computed, object.(*corev1.ResourceQuota).Name) },
	}, quotaResync); err != nil {
		t.Fatal(err)
	}
	one := resource.MustParse("1")
	for name, used := range map[string]corev1.ResourceList{
		"new":      nil,
		"partial":  {corev1.ResourcePods: one},
		"complete": {corev1.ResourcePods: one, "count/widgets.example.com": one},
	} {
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: one, "count/widgets.example.com": one}
		quota.Status.Used = used
		if err := informer.Informer().GetStore().Add(quota); err != nil {
			t.Fatal(err)
		}
	}
	informer.handling.addIncomplete()
	slices.Sort(computed)
	if want := []string{"new", "partial"}; !slices.Equal(computed, want) {
		t.Errorf("computed %v, want %v", computed, want)
	}
	for kind, want := range map[schema.GroupResource][]string{
		{Group: "example.com", Resource: "widgets"}: {"complete", "new", "partial"},
		{Group: "example.com", Resource: "gadgets"}: nil,
	} {
		computed = nil
		informer.handling.addCounting(kind)
		slices.Sort(computed)
		if !slices.Equal(computed, want) {
			t.Errorf("after the first use of %s: computed %v, want %v", kind, computed, want)
		}
	}
}
