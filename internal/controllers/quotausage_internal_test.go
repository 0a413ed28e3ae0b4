// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/tools/cache"
)

// TestQuotaWaitsForWhatItCounts verifies that a kind which cannot be listed delays a
// quota that counts it, once, and no other quota meanwhile.
func TestQuotaWaitsForWhatItCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := factory{}
		registry := generic.NewRegistry([]quota.Evaluator{})
		kind := func(name string) schema.GroupVersionResource {
			return schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: name}
		}
		acknowledged := map[string]uint64{"broken": 1, "unused": 0}
		usage := newUsageInformers(t.Context(), all, registry, func(r schema.GroupResource) uint64 { return acknowledged[r.Resource] })
		find := func(name string) {
			if _, err := usage.ForResource(kind(name)); err != nil {
				t.Fatal(err)
			}
		}
		for name := range acknowledged {
			all[name] = configMaps{cache.NewSharedIndexInformer(&cache.ListWatch{}, &corev1.ConfigMap{}, 0, nil)}
			registry.Add(generic.NewObjectCountEvaluator(kind(name).GroupResource(), nil, ""))
			find(name)
		}
		took := func(name string) time.Duration {
			of := &corev1.ResourceQuota{}
			of.ResourceVersion = "9"
			of.Spec.Hard = corev1.ResourceList{generic.ObjectCountQuotaResourceNameFor(kind(name).GroupResource()): resource.MustParse("1")}
			began := time.Now()
			usage.wait(of)
			return time.Since(began)
		}

		first := make(chan time.Duration)
		go func() { first <- took("broken") }()
		synctest.Wait()
		if got := took("unused"); got != 0 {
			t.Errorf("a quota of another kind waited for %s", got)
		}
		if got := <-first; got < usageTimeout {
			t.Errorf("the quota waited for %s, want %s", got, usageTimeout)
		}
		find("broken") // upstream asks for each computation
		acknowledged["broken"] = 2
		if got := took("broken"); got != 0 {
			t.Errorf("the quota waited again, for %s", got)
		}
	})
}
