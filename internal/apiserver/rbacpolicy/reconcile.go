// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package rbacpolicy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	rbacv1client "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
)

// writers is the number of objects that are reconciled at the same time.
const writers = 16

// Reconcile creates the missing roles and bindings of policy, and adds the rules and
// subjects of this release to existing ones, unless the annotation
// rbac.authorization.kubernetes.io/autoupdate: "false" protects them. When a step fails,
// the others still run. The error names all steps that failed.
//
// It is upstream's start hook rbac/bootstrap-roles, EnsureRBACPolicy of
// k8s.io/kubernetes/pkg/registry/rbac/rest, step by step. The hook itself cannot be
// called: it waits a second before its first try, takes no context, and ends the process
// when it fails for 30 seconds. TestBootstrapOverChangedData runs both over changes of
// operators, and compares the results.
func Reconcile(ctx context.Context, client kubernetes.Interface, policy Policy) error {
	r := reconciler{ctx: ctx}
	// Upstream stops when a copy fails. Here only the target of the copy is left out: if
	// it were created, it would grant what an operator has removed from its source.
	for source, target := range policy.ClusterRolesToAggregate {
		if !r.try("copy to", "ClusterRole", target, func() error { return primeAggregated(ctx, client.RbacV1(), source, target) }) {
			policy.ClusterRoles = slices.DeleteFunc(policy.ClusterRoles, func(r rbacv1.ClusterRole) bool { return r.Name == target })
		}
	}
	for source, template := range policy.ClusterRoleBindingsToSplit {
		if !r.try("copy to", "ClusterRoleBinding", template.Name, func() error { return primeSplit(ctx, client.RbacV1(), source, &template) }) {
			policy.ClusterRoleBindings = slices.DeleteFunc(policy.ClusterRoleBindings, func(b rbacv1.ClusterRoleBinding) bool { return b.Name == template.Name })
		}
	}
	// Each of these steps changes one object. Upstream runs them one after another.
	r.group.SetLimit(writers)
	for i := range policy.ClusterRoles {
		r.role("ClusterRole", reconciliation.ClusterRoleRuleOwner{ClusterRole: &policy.ClusterRoles[i]},
			reconciliation.ClusterRoleModifier{Client: client.RbacV1().ClusterRoles()})
	}
	for i := range policy.ClusterRoleBindings {
		r.binding("ClusterRoleBinding", reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &policy.ClusterRoleBindings[i]},
			reconciliation.ClusterRoleBindingClientAdapter{Client: client.RbacV1().ClusterRoleBindings()})
	}
	for _, roles := range policy.Roles {
		for i := range roles {
			r.role("Role", reconciliation.RoleRuleOwner{Role: &roles[i]},
				reconciliation.RoleModifier{Client: client.RbacV1(), NamespaceClient: client.CoreV1().Namespaces()})
		}
	}
	for _, bindings := range policy.RoleBindings {
		for i := range bindings {
			r.binding("RoleBinding", reconciliation.RoleBindingAdapter{RoleBinding: &bindings[i]},
				reconciliation.RoleBindingClientAdapter{Client: client.RbacV1(), NamespaceClient: client.CoreV1().Namespaces()})
		}
	}
	_ = r.group.Wait() // steps return no errors
	return errors.Join(append(r.errs, ctx.Err())...)
}

// reconciler runs the steps of Reconcile and collects their errors.
type reconciler struct {
	ctx   context.Context
	group errgroup.Group
	mu    sync.Mutex
	errs  []error
}

// try runs a step and reports whether it succeeded.
func (r *reconciler) try(verb, kind, name string, step func() error) bool {
	if r.ctx.Err() != nil {
		return false
	}
	err := retry.OnError(retry.DefaultBackoff, retriable, step)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.errs = append(r.errs, fmt.Errorf("apiserver: %s %s %s: %w", verb, kind, name, err))
	}
	return err == nil
}

func (r *reconciler) role(kind string, role reconciliation.RuleOwner, client reconciliation.RuleOwnerModifier) {
	r.group.Go(func() error {
		r.try("reconcile", kind, role.GetName(), func() error {
			_, err := (&reconciliation.ReconcileRoleOptions{Role: role, Client: client, Confirm: true}).Run()
			return err
		})
		return nil
	})
}

func (r *reconciler) binding(kind string, binding reconciliation.RoleBinding, client reconciliation.RoleBindingModifier) {
	r.group.Go(func() error {
		r.try("reconcile", kind, binding.GetName(), func() error {
			_, err := (&reconciliation.ReconcileRoleBindingOptions{RoleBinding: binding, Client: client, Confirm: true}).Run()
			return err
		})
		return nil
	})
}

// retriable is upstream's isConflictOrServiceUnavailable.
func retriable(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsServiceUnavailable(err)
}

// primeAggregated is upstream's primeAggregatedClusterRoles for one role. It copies a
// role of a release without aggregation to the role that it now aggregates, unless that
// role exists. Upstream stops at the first source that is aggregated already, in the
// random order of a map. Here all other roles are still copied.
func primeAggregated(ctx context.Context, client rbacv1client.ClusterRolesGetter, source, target string) error {
	_, err := client.ClusterRoles().Get(ctx, target, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	role, err := client.ClusterRoles().Get(ctx, source, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && role.AggregationRule != nil {
		return nil
	}
	if err != nil {
		return err
	}
	role.Name, role.ResourceVersion = target, ""
	if _, err = client.ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// primeSplit is upstream's primeSplitClusterRoleBindings for one binding. It creates the
// template with the subjects, labels and annotations of the source, the binding that
// granted its role in earlier releases. It does nothing if the template's binding exists,
// or the source does not.
func primeSplit(ctx context.Context, client rbacv1client.ClusterRoleBindingsGetter, source string, template *rbacv1.ClusterRoleBinding) error {
	existing, err := client.ClusterRoleBindings().Get(ctx, source, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = client.ClusterRoleBindings().Get(ctx, template.Name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	binding := template.DeepCopy()
	binding.Subjects, binding.Labels, binding.Annotations = existing.Subjects, existing.Labels, existing.Annotations
	if _, err = client.ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
