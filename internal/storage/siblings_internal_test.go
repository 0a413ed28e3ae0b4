// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/apis/core"
)

// decoded returns a pod as from etcd: it shares no memory with others.
func decoded(name, owner string) *core.Pod {
	controller := true
	pod := &core.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}},
		},
		Spec: core.PodSpec{
			NodeName:   "node-of-" + name,
			Containers: []core.Container{{Name: "web", Env: []core.EnvVar{{Name: "PORT", Value: "80"}}}},
		},
		Status: core.PodStatus{Conditions: []core.PodCondition{{Type: core.PodReady, Message: name}}},
	}
	if owner != "" {
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", UID: types.UID(owner), Controller: &controller}}
	}
	return pod.DeepCopy()
}

// TestSiblingsShareMemory: equal parts of pods share memory, if the pods have the same
// controller or none. Nothing else changes.
func TestSiblingsShareMemory(t *testing.T) {
	attrs := shareWithSiblings(schema.GroupResource{Resource: "pods"}, func(runtime.Object) (labels.Set, fields.Set, error) { return nil, nil, nil })
	for _, c := range []struct {
		name          string
		first, second *core.Pod
		shared        bool
	}{
		{"one controller", decoded("a", "set"), decoded("b", "set"), true},
		{"versions", decoded("c", ""), decoded("c", ""), true},
		{"no controllers", decoded("e", ""), decoded("f", ""), true},
		{"two controllers", decoded("d", "one"), decoded("d", "another"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := []*core.Pod{c.first.DeepCopy(), c.second.DeepCopy()}
			for _, pod := range []*core.Pod{c.first, c.second} {
				if _, _, err := attrs(pod); err != nil {
					t.Fatal(err)
				}
			}
			if got := []*core.Pod{c.first, c.second}; !reflect.DeepEqual(got, want) {
				t.Errorf("the pods have changed: got %+v, want %+v", got, want)
			}
			for what, parts := range map[string][2]any{
				"labels":         {c.first.Labels, c.second.Labels},
				"containers":     {c.first.Spec.Containers, c.second.Spec.Containers},
				"managed fields": {c.first.ManagedFields[0].FieldsV1, c.second.ManagedFields[0].FieldsV1},
			} {
				if shared := reflect.ValueOf(parts[0]).Pointer() == reflect.ValueOf(parts[1]).Pointer(); shared != c.shared {
					t.Errorf("%s are shared: %t, want %t", what, shared, c.shared)
				}
			}
			if &c.first.Status.Conditions[0] == &c.second.Status.Conditions[0] && c.first.Name != c.second.Name {
				t.Error("different conditions are one")
			}
		})
	}
}

// TestManyFamilies: the memory of siblings is bounded.
func TestManyFamilies(t *testing.T) {
	attrs := shareWithSiblings(schema.GroupResource{Resource: "pods"}, func(runtime.Object) (labels.Set, fields.Set, error) { return nil, nil, nil })
	first, again := decoded("first", "0"), decoded("again", "0")
	_, _, _ = attrs(first)
	for i := range families {
		_, _, _ = attrs(decoded("pod", fmt.Sprint(i+1)))
	}
	_, _, _ = attrs(again)
	if reflect.ValueOf(first.Labels).Pointer() == reflect.ValueOf(again.Labels).Pointer() {
		t.Errorf("a pod is kept after pods of %d other controllers", families)
	}
}
