package apiserver

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
	"k8s.io/kubernetes/pkg/apis/rbac"
)

// Over existing data the bootstrap policy is upstream's rbac/bootstrap-roles hook:
// ensureRBACPolicy of k8s.io/kubernetes/pkg/registry/rbac/rest, step by step, by requests
// to this server. The hook itself cannot be called: it waits a second before its first
// try, has no context, and ends the process when it fails for 30 seconds.
// TestBootstrapOverChangedData runs it beside this one over what operators change, and
// compares the results.

// servedRBACPolicy is rbacPolicy without the kinds that Config.RuntimeConfig switches off.
func (s *Server) servedRBACPolicy() policyData {
	policy := rbacPolicy()
	served := func(resource string) bool {
		return servedInAnyVersion(s.generic.server.MergedResourceConfig, rbac.Resource(resource))
	}
	if !served("clusterroles") {
		policy.ClusterRoles, policy.ClusterRolesToAggregate = nil, nil
	}
	if !served("clusterrolebindings") {
		policy.ClusterRoleBindings, policy.ClusterRoleBindingsToSplit = nil, nil
	}
	if !served("roles") {
		policy.Roles = nil
	}
	if !served("rolebindings") {
		policy.RoleBindings = nil
	}
	return policy
}

// reconcileRBAC creates what is missing of policy and adds to existing roles and bindings
// what this release grants, unless rbac.authorization.kubernetes.io/autoupdate: "false"
// protects them. Where a step fails the others still run, and the error names it.
func reconcileRBAC(ctx context.Context, client kubernetes.Interface, policy policyData) error {
	r := reconciler{ctx: ctx}
	// Upstream does not go on when a copy fails. Here only the object without its copy is
	// left out: it would get what an operator has taken out of its source.
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
	// Each of these is about one object. Upstream does one after the other.
	r.group.SetLimit(bootstrapWriters)
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

// reconciler runs the steps of reconcileRBAC and keeps their errors.
type reconciler struct {
	ctx   context.Context
	group errgroup.Group
	mu    sync.Mutex
	errs  []error
}

// try reports whether a step succeeded.
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

// primeAggregated is upstream's primeAggregatedClusterRoles for one role. It copies a role
// that is from the time before aggregation to the one whose rules it now selects, unless
// that one exists. Upstream stops at the first role that is aggregated already, in the
// random order of a map; here the others get their copies in any case.
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
// template with the subjects, labels and annotations of the binding that granted its role
// before, unless there is one, or no source.
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
