// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/kubembed/kubembed/internal/testwait"
)

// node returns a client with the credentials of a node's kubelet.
func (p *plane) node(t testing.TB, name string) *kubernetes.Clientset {
	t.Helper()
	pair, err := p.pki.IssueNode(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return clientset(t, p.with(pair))
}

func wantForbidden(t testing.TB, what string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("%s: got %v, want 403", what, err)
	}
}

func labelPatch(label string) []byte {
	return fmt.Appendf(nil, `{"metadata":{"labels":{%q:"x"}}}`, label)
}

func TestNodesOwnNode(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	own, other := p.node(t, "authz-one").CoreV1().Nodes(), p.node(t, "authz-two").CoreV1().Nodes()
	must(own.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "authz-one"}}, metav1.CreateOptions{}))(t)
	must(own.Get(ctx, "authz-one", metav1.GetOptions{}))(t)
	must(own.Patch(ctx, "authz-one", types.MergePatchType, labelPatch("example.com/any"), metav1.PatchOptions{}))(t)
	must(own.Patch(ctx, "authz-one", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status"))(t)

	_, err := own.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "authz-other"}}, metav1.CreateOptions{})
	wantForbidden(t, "creating another node", err)
	_, err = other.Get(ctx, "authz-one", metav1.GetOptions{})
	wantForbidden(t, "reading another's node", err)
	_, err = other.Patch(ctx, "authz-one", types.MergePatchType, labelPatch("example.com/any"), metav1.PatchOptions{})
	wantForbidden(t, "patching another's node", err)
	wantForbidden(t, "deleting its own node", own.Delete(ctx, "authz-one", metav1.DeleteOptions{}))
	_, err = own.Patch(ctx, "authz-one", types.MergePatchType, labelPatch("node-restriction.kubernetes.io/role"), metav1.PatchOptions{})
	wantForbidden(t, "a label that only administrators may set", err)
}

func TestNodesOwnLease(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	own := p.node(t, "authz-one").CoordinationV1().Leases(corev1.NamespaceNodeLease)
	other := p.node(t, "authz-two").CoordinationV1().Leases(corev1.NamespaceNodeLease)
	lease := must(own.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "authz-one"}}, metav1.CreateOptions{}))(t)
	holder := "authz-one"
	lease.Spec.HolderIdentity = &holder
	must(own.Update(ctx, lease, metav1.UpdateOptions{}))(t)

	_, err := other.Get(ctx, "authz-one", metav1.GetOptions{})
	wantForbidden(t, "reading another's lease", err)
	_, err = other.Patch(ctx, "authz-one", types.MergePatchType, []byte(`{"spec":{"leaseDurationSeconds":1}}`), metav1.PatchOptions{})
	wantForbidden(t, "patching another's lease", err)
	_, err = p.node(t, "authz-one").CoordinationV1().Leases("default").Create(ctx, lease, metav1.CreateOptions{})
	wantForbidden(t, "a lease in another namespace", err)
}

func TestNodeReadsSecretsOfItsPods(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	ns := p.namespace(t)
	secrets := p.admin().CoreV1().Secrets(ns)
	for _, name := range []string{"bound", "unbound"} {
		must(secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
	}
	pod := pod("reader")
	pod.Spec.NodeName = "authz-reader"
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "bound"}}}}
	must(p.admin().CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{}))(t)

	reader, other := p.node(t, "authz-reader").CoreV1().Secrets(ns), p.node(t, "authz-other").CoreV1().Secrets(ns)
	testwait.Until(t, "the pod's node reads its secret", func(context.Context) error {
		_, err := reader.Get(ctx, "bound", metav1.GetOptions{})
		return err
	})
	_, err := reader.Get(ctx, "unbound", metav1.GetOptions{})
	wantForbidden(t, "a secret that no pod uses", err)
	_, err = reader.List(ctx, metav1.ListOptions{})
	wantForbidden(t, "listing secrets", err)
	_, err = other.Get(ctx, "bound", metav1.GetOptions{})
	wantForbidden(t, "a secret of another node's pod", err)
}

func TestRoleBinding(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	ns, otherNamespace := p.namespace(t), p.namespace(t)
	jane := clientset(t, p.as(t, "jane")).CoreV1()
	_, err := jane.Pods(ns).List(ctx, metav1.ListOptions{})
	wantForbidden(t, "before the binding", err)

	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}},
	}
	must(p.admin().RbacV1().Roles(ns).Create(ctx, role, metav1.CreateOptions{}))(t)
	must(p.admin().RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "jane"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "jane"}},
	}, metav1.CreateOptions{}))(t)
	testwait.Until(t, "the binding takes effect", func(context.Context) error {
		_, err := jane.Pods(ns).List(ctx, metav1.ListOptions{})
		return err
	})
	_, err = jane.Pods(otherNamespace).List(ctx, metav1.ListOptions{})
	wantForbidden(t, "another namespace", err)
	_, err = jane.Secrets(ns).List(ctx, metav1.ListOptions{})
	wantForbidden(t, "another resource", err)
	_, err = jane.Pods(ns).Create(ctx, pod("p"), metav1.CreateOptions{})
	wantForbidden(t, "another verb", err)
}

// TestPrivilegeEscalation verifies upstream's guard against escalation, which is in the
// strategies of the rbac group: a user can grant only permissions of its own.
func TestPrivilegeEscalation(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	ns := p.namespace(t)
	must(p.admin().RbacV1().Roles(ns).Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "granter"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, Verbs: []string{"create"}}},
	}, metav1.CreateOptions{}))(t)
	must(p.admin().RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "granter"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "granter"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "granter"}},
	}, metav1.CreateOptions{}))(t)
	roles := clientset(t, p.as(t, "granter")).RbacV1().Roles(ns)
	testwait.Until(t, "granting its own permissions", func(context.Context) error {
		_, err := roles.Create(ctx, &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Name: "same"},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, Verbs: []string{"create"}}},
		}, metav1.CreateOptions{})
		return err
	})
	_, err := roles.Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "more"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"*"}}},
	}, metav1.CreateOptions{})
	wantForbidden(t, "granting more", err)
}

func TestDefaultRoles(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	client := p.admin().RbacV1()
	var errs []error
	for _, role := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		_, err := client.ClusterRoles().Get(ctx, role.Name, metav1.GetOptions{})
		errs = append(errs, err)
	}
	for _, binding := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		_, err := client.ClusterRoleBindings().Get(ctx, binding.Name, metav1.GetOptions{})
		errs = append(errs, err)
	}
	for namespace, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			_, err := client.Roles(namespace).Get(ctx, role.Name, metav1.GetOptions{})
			errs = append(errs, err)
		}
	}
	for namespace, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, binding := range bindings {
			_, err := client.RoleBindings(namespace).Get(ctx, binding.Name, metav1.GetOptions{})
			errs = append(errs, err)
		}
	}
	if len(errs) < 100 {
		t.Errorf("got %d objects in upstream's policy, want at least 100", len(errs))
	}
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func TestAccessReviews(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	resource := &authorizationv1.ResourceAttributes{Verb: "delete", Resource: "nodes", Name: "any"}
	for groups, want := range map[string]bool{"system:masters": true, "dev": false} {
		review := must(p.admin().AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: "jane", Groups: []string{groups}, ResourceAttributes: resource},
		}, metav1.CreateOptions{}))(t)
		if review.Status.Allowed != want {
			t.Errorf("group %s: got %+v, want allowed %t", groups, review.Status, want)
		}
	}
	jane := clientset(t, p.as(t, "jane")).AuthorizationV1()
	self := must(jane.SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: resource},
	}, metav1.CreateOptions{}))(t)
	if self.Status.Allowed {
		t.Errorf("jane: got %+v, want denied", self.Status)
	}
	rules := must(jane.SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"},
	}, metav1.CreateOptions{}))(t)
	if len(rules.Status.ResourceRules) == 0 || len(rules.Status.NonResourceRules) == 0 {
		t.Errorf("jane: got rules %+v, want resource and other rules", rules.Status)
	}
	_, err := jane.SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: "john", ResourceAttributes: resource},
	}, metav1.CreateOptions{})
	wantForbidden(t, "asking about somebody else", err)
}
