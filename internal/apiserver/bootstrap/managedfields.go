package bootstrap

import (
	"reflect"
	"sync"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Upstream creates the bootstrap objects by requests, and the handler of a request
// records in managedFields which client owns which fields. Here these objects are
// written straight through storage, with the same managedFields. The rules below hold
// for these few kinds; upstream's field manager, which knows all, takes longer than
// everything else that a start does with the objects. TestSeededManagedFields compares
// its results with ours, and TestSeededMetadata compares ours with a kube-apiserver's.

// What upstream's clients are called in managedFields.
const (
	ServerManager      = "kube-apiserver"
	controllersManager = "kube-controller-manager"
	flowControlManager = "api-priority-and-fairness-config-producer-v1"
	aggregationManager = "clusterrole-aggregation-controller"
	serviceCIDRManager = "kubernetes-service-cidr-controller"
)

// managedFields returns those of a new object in its v1 form, with defaults, as if
// manager had created it by a request.
func managedFields(object runtime.Object, group, manager string) ([]metav1.ManagedFieldsEntry, error) {
	m := fieldOwners{apiVersion: "v1", now: metav1.Now()}
	if group != "" {
		m.apiVersion = group + "/v1"
	}
	created := object
	// Controllers of upstream apply these parts later, which are there from the start
	// here.
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
			set.Insert(append(ready[:len(ready):len(ready)], fieldpath.PathElement{FieldName: &name}))
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
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: raw}, //nolint:staticcheck // as upstream makes them: the accessors copy
	})
}

// createdFields are the fields of a new object that an empty one does not have.
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

// shortened leaves one element of the long lists: a list has one owner as a whole,
// whatever is in it.
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

// emptyContents are those of empty objects, by type. They are only read.
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

// addCreated adds what content has and empty has not. Lists and the references to
// roles have one owner as a whole.
func addCreated(set *fieldpath.Set, path fieldpath.Path, content, empty map[string]any) {
	for key, value := range content {
		was, there := empty[key]
		if there && reflect.DeepEqual(value, was) {
			continue
		}
		here := append(path[:len(path):len(path)], fieldpath.PathElement{FieldName: &key})
		if below, ok := value.(map[string]any); ok && key != "roleRef" {
			// Nobody owns the existence of a struct that an empty object has, too.
			if wasBelow, ok := was.(map[string]any); ok {
				addCreated(set, here, below, wasBelow)
				continue
			}
			addCreated(set, here, below, nil)
		}
		set.Insert(here)
	}
}
