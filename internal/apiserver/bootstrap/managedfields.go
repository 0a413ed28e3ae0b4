// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"reflect"
	"slices"
	"sync"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Upstream creates the bootstrap objects by requests, and the handler of a request
// records in managedFields which client owns which fields. Here the objects are written
// through storage, with the same managedFields. The rules below hold for their few kinds.
// Upstream's field manager, which supports all kinds, takes longer than the rest of the
// work on these objects at a start. TestSeededManagedFields compares the results, and
// TestSeededMetadata compares them with a kube-apiserver.

// The names of upstream's clients in managedFields.
const (
	ServerManager      = "kube-apiserver"
	controllersManager = "kube-controller-manager"
	flowControlManager = "api-priority-and-fairness-config-producer-v1"
	aggregationManager = "clusterrole-aggregation-controller"
	serviceCIDRManager = "kubernetes-service-cidr-controller"
)

// managedFields returns the managedFields of a new object in v1, with defaults, as if
// manager had created it by a request.
func managedFields(object runtime.Object, group, manager string) ([]metav1.ManagedFieldsEntry, error) {
	m := fieldOwners{apiVersion: "v1", now: metav1.Now()}
	if group != "" {
		m.apiVersion = group + "/v1"
	}
	created := object
	// Upstream's controllers apply these parts after the creation. Here the object has
	// them from the beginning.
	switch o := object.(type) {
	case *rbacv1.ClusterRole:
		if o.AggregationRule != nil && len(o.Rules) > 0 {
			m.add(aggregationManager, metav1.ManagedFieldsOperationApply, "", fieldpath.NewSet(fieldpath.MakePathOrDie("rules")))
			withoutRules := *o
			withoutRules.Rules = nil
			created = &withoutRules
		}
	case *networkingv1.ServiceCIDR:
		ready := fieldpath.MakePathOrDie("status", "conditions", fieldpath.KeyByFields("type", networkingv1.ServiceCIDRConditionReady))
		set := fieldpath.NewSet(ready)
		for _, name := range []string{"lastTransitionTime", "message", "status", "type"} {
			set.Insert(append(slices.Clip(ready), fieldpath.PathElement{FieldName: &name}))
		}
		m.add(serviceCIDRManager, metav1.ManagedFieldsOperationApply, "status", set)
	}
	set, err := createdFields(created)
	if err != nil {
		return nil, err
	}
	m.add(manager, metav1.ManagedFieldsOperationUpdate, "", set)
	return m.entries, m.err
}

type fieldOwners struct {
	apiVersion string
	now        metav1.Time
	entries    []metav1.ManagedFieldsEntry
	err        error
}

func (m *fieldOwners) add(manager string, operation metav1.ManagedFieldsOperationType, subresource string, set *fieldpath.Set) {
	if set.Empty() {
		return
	}
	raw, err := set.ToJSON()
	if err != nil {
		m.err = err
		return
	}
	m.entries = append(m.entries, metav1.ManagedFieldsEntry{
		Manager: manager, Operation: operation, Subresource: subresource, APIVersion: m.apiVersion, Time: &m.now,
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: raw}, //nolint:staticcheck // as upstream does: the accessors copy
	})
}

// createdFields returns the fields of a new object that an empty object does not have.
func createdFields(object runtime.Object) (*fieldpath.Set, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(shortened(object))
	if err != nil {
		return nil, err
	}
	empty, err := emptyContent(reflect.TypeOf(object).Elem())
	if err != nil {
		return nil, err
	}
	for _, untracked := range []string{"apiVersion", "kind", "status"} {
		delete(content, untracked)
	}
	if metadata, ok := content["metadata"].(map[string]any); ok {
		for key := range metadata {
			if key != "labels" && key != "annotations" {
				delete(metadata, key)
			}
		}
	}
	set := fieldpath.NewSet()
	addCreated(set, nil, content, empty)
	return set, nil
}

// shortened returns an object with one element of its long lists: a list is owned as a
// whole, whatever its elements are.
func shortened(object runtime.Object) runtime.Object {
	switch o := object.(type) {
	case *rbacv1.ClusterRole:
		short := *o
		short.Rules = o.Rules[:min(1, len(o.Rules))]
		return &short
	case *rbacv1.Role:
		short := *o
		short.Rules = o.Rules[:min(1, len(o.Rules))]
		return &short
	case *flowcontrolv1.FlowSchema:
		short := *o
		short.Spec.Rules = o.Spec.Rules[:min(1, len(o.Spec.Rules))]
		return &short
	}
	return object
}

// emptyContents are the contents of empty objects, by type. They are never changed.
var emptyContents sync.Map

func emptyContent(of reflect.Type) (map[string]any, error) {
	if content, ok := emptyContents.Load(of); ok {
		return content.(map[string]any), nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(reflect.New(of).Interface())
	if err == nil {
		emptyContents.Store(of, content)
	}
	return content, err
}

// addCreated adds the fields of content that empty does not have. Lists and references to
// roles are owned as a whole.
func addCreated(set *fieldpath.Set, path fieldpath.Path, content, empty map[string]any) {
	for key, value := range content {
		emptyValue, ok := empty[key]
		if ok && reflect.DeepEqual(value, emptyValue) {
			continue
		}
		child := append(slices.Clip(path), fieldpath.PathElement{FieldName: &key})
		if content, ok := value.(map[string]any); ok && key != "roleRef" {
			// A struct that an empty object has too has no owner of its own.
			if emptyContent, ok := emptyValue.(map[string]any); ok {
				addCreated(set, child, content, emptyContent)
				continue
			}
			addCreated(set, child, content, nil)
		}
		set.Insert(child)
	}
}
