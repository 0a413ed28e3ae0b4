package apiserver

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

type policyData = rbacrest.PolicyData

// rbacPolicy is upstream's bootstrap policy.
func rbacPolicy() policyData {
	return policyData{
		ClusterRoles:        append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		ClusterRoleBindings: append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...),
		Roles:               bootstrappolicy.NamespaceRoles(),
		RoleBindings:        bootstrappolicy.NamespaceRoleBindings(),
	}
}

// reconcileRBAC adds to existing bootstrap roles what a newer release grants,
// and honours rbac.authorization.kubernetes.io/autoupdate: "false". It is the
// body of upstream's rbac/bootstrap-roles hook, with a context and without
// its polling.
func reconcileRBAC(ctx context.Context, client kubernetes.Interface) error {
	policy := rbacPolicy()
	var errs []error
	run := func(kind, name string, step func() error) {
		if ctx.Err() != nil {
			return
		}
		if err := retry.RetryOnConflict(retry.DefaultBackoff, step); err != nil {
			errs = append(errs, fmt.Errorf("apiserver: reconcile %s %s: %w", kind, name, err))
		}
	}
	reconcileRole := func(kind string, role reconciliation.RuleOwner, modifier reconciliation.RuleOwnerModifier) {
		run(kind, role.GetName(), func() error {
			_, err := (&reconciliation.ReconcileRoleOptions{Role: role, Client: modifier, Confirm: true}).Run()
			return err
		})
	}
	reconcileBinding := func(kind string, binding reconciliation.RoleBinding, modifier reconciliation.RoleBindingModifier) {
		run(kind, binding.GetName(), func() error {
			_, err := (&reconciliation.ReconcileRoleBindingOptions{RoleBinding: binding, Client: modifier, Confirm: true}).Run()
			return err
		})
	}
	for i := range policy.ClusterRoles {
		reconcileRole("ClusterRole", reconciliation.ClusterRoleRuleOwner{ClusterRole: &policy.ClusterRoles[i]},
			reconciliation.ClusterRoleModifier{Client: client.RbacV1().ClusterRoles()})
	}
	for i := range policy.ClusterRoleBindings {
		reconcileBinding("ClusterRoleBinding", reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &policy.ClusterRoleBindings[i]},
			reconciliation.ClusterRoleBindingClientAdapter{Client: client.RbacV1().ClusterRoleBindings()})
	}
	for _, roles := range policy.Roles {
		for i := range roles {
			reconcileRole("Role", reconciliation.RoleRuleOwner{Role: &roles[i]},
				reconciliation.RoleModifier{Client: client.RbacV1(), NamespaceClient: client.CoreV1().Namespaces()})
		}
	}
	for _, bindings := range policy.RoleBindings {
		for i := range bindings {
			reconcileBinding("RoleBinding", reconciliation.RoleBindingAdapter{RoleBinding: &bindings[i]},
				reconciliation.RoleBindingClientAdapter{Client: client.RbacV1(), NamespaceClient: client.CoreV1().Namespaces()})
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}
