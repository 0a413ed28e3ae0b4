// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package rbacpolicy

import (
	"errors"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestCopiesComeFirst: an object that must be a copy of another is not created from the
// policy if it cannot be copied. All other objects are created.
func TestCopiesComeFirst(t *testing.T) {
	protected := map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "view", Annotations: protected}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "system:discovery", Annotations: protected}}
	client := fake.NewClientset(role, binding)
	refused := map[string]bool{"system:aggregate-to-view": false, "system:public-info-viewer": false}
	refuse := func(action clienttesting.Action) (bool, runtime.Object, error) {
		name := action.(clienttesting.CreateAction).GetObject().(metav1.Object).GetName()
		if before, ok := refused[name]; !ok || before {
			return false, nil, nil
		}
		refused[name] = true
		return true, nil, errors.New("a webhook refuses it once")
	}
	client.PrependReactor("create", "clusterroles", refuse)
	client.PrependReactor("create", "clusterrolebindings", refuse)
	if err := Reconcile(t.Context(), client, New()); err == nil {
		t.Fatal("Reconcile without the copies: got no error")
	}
	roles, bindings := client.RbacV1().ClusterRoles(), client.RbacV1().ClusterRoleBindings()
	if _, err := roles.Get(t.Context(), "system:aggregate-to-view", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("role that cannot be copied: got %v, want NotFound", err)
	}
	if _, err := bindings.Get(t.Context(), "system:public-info-viewer", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("binding that cannot be copied: got %v, want NotFound", err)
	}
	for _, want := range []string{"system:aggregate-to-edit", "edit", "kubembed:node-bootstrapper"} {
		if _, err := roles.Get(t.Context(), want, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	if err := Reconcile(t.Context(), client, New()); err != nil {
		t.Fatal(err)
	}
	if copied, err := bindings.Get(t.Context(), "system:public-info-viewer", metav1.GetOptions{}); err != nil || len(copied.Subjects) > 0 {
		t.Errorf("copied binding: got %v, %v, want no subjects", copied, err)
	}
	if copied, err := roles.Get(t.Context(), "system:aggregate-to-view", metav1.GetOptions{}); err != nil || len(copied.Rules) > 0 {
		t.Errorf("copied role: got %v, %v, want no rules", copied, err)
	}
}

// TestAggregatedRolesDoNotStopCopies: upstream stops copying, in the random order of a
// map, at the first role that is aggregated already.
func TestAggregatedRolesDoNotStopCopies(t *testing.T) {
	aggregated := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "edit"}, AggregationRule: &rbacv1.AggregationRule{}}
	other := aggregated.DeepCopy()
	other.Name = "admin"
	legacy := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "view"},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"example.com"}, Resources: []string{"widgets"}}},
	}
	for range 8 { // orders of a map
		client := fake.NewClientset(aggregated, other, legacy)
		if err := Reconcile(t.Context(), client, Policy{ClusterRolesToAggregate: New().ClusterRolesToAggregate}); err != nil {
			t.Fatal(err)
		}
		copied, err := client.RbacV1().ClusterRoles().Get(t.Context(), "system:aggregate-to-view", metav1.GetOptions{})
		if err != nil || !slices.ContainsFunc(copied.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "widgets") }) {
			t.Fatalf("copied role: got %v, %v, want the rules of its source", copied, err)
		}
	}
}

// TestReconcileTriesAgain: an API server refuses writes while storage versions are
// updated, and other clients write at the same time.
func TestReconcileTriesAgain(t *testing.T) {
	resource := rbacv1.Resource("clusterroles")
	for _, refusal := range []error{
		apierrors.NewServiceUnavailable("storage versions are being updated"),
		apierrors.NewConflict(resource, "view", errors.New("another server was faster")),
	} {
		client := fake.NewClientset()
		refused := 0
		client.PrependReactor("create", "clusterroles", func(clienttesting.Action) (bool, runtime.Object, error) {
			refused++
			return refused == 1, nil, refusal
		})
		if err := Reconcile(t.Context(), client, New()); err != nil || refused < 2 {
			t.Errorf("after %v: got %v in %d attempts, want success in a second one", refusal, err, refused)
		}
	}
}
