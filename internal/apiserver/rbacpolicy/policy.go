// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package rbacpolicy has the bootstrap RBAC policy, upstream's roles and bindings with
// the additional ones for nodes, and updates the policy in existing data.
package rbacpolicy

import (
	"maps"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/join"
)

// Policy is a set of roles and bindings.
type Policy = rbacrest.PolicyData

// New returns upstream's bootstrap policy with the role and the bindings of nodes, which
// upstream leaves to installers.
func New() Policy {
	return Policy{
		ClusterRoles:        slices.Concat(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles(), []rbacv1.ClusterRole{joinRole()}),
		ClusterRoleBindings: slices.Concat(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings(), nodeBindings()),
		Roles:               bootstrappolicy.NamespaceRoles(),
		RoleBindings:        bootstrappolicy.NamespaceRoleBindings(),

		ClusterRolesToAggregate:    bootstrappolicy.ClusterRolesToAggregate(),
		ClusterRoleBindingsToSplit: bootstrappolicy.ClusterRoleBindingsToSplit(),
	}
}

// Served returns New without the kinds that the API server does not serve.
func Served(served func(schema.GroupResource) bool) Policy {
	policy := New()
	if !served(rbacv1.Resource("clusterroles")) {
		policy.ClusterRoles, policy.ClusterRolesToAggregate = nil, nil
	}
	if !served(rbacv1.Resource("clusterrolebindings")) {
		policy.ClusterRoleBindings, policy.ClusterRoleBindingsToSplit = nil, nil
	}
	if !served(rbacv1.Resource("roles")) {
		policy.Roles = nil
	}
	if !served(rbacv1.Resource("rolebindings")) {
		policy.RoleBindings = nil
	}
	return policy
}

// nodeBindings are the bindings for nodes. kubeadm creates them under other names.
func nodeBindings() (bindings []rbacv1.ClusterRoleBinding) {
	bind := func(name, kind, subject, role string) {
		bindings = append(bindings, rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{
				Name:        name,
				Labels:      maps.Clone(bootstrappolicy.Label),
				Annotations: maps.Clone(bootstrappolicy.Annotation),
			},
			Subjects: []rbacv1.Subject{{Kind: kind, APIGroup: rbacv1.GroupName, Name: subject}},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		})
	}
	// A joining worker requests the first client certificate of its kubelet.
	bind("kubembed:kubelet-bootstrap", rbacv1.GroupKind, join.Group, joinRoleName)
	// Kubelets renew their client certificates.
	bind("kubembed:node-certificate-rotation", rbacv1.GroupKind, user.NodesGroup,
		"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient")
	// The API server calls kubelets for kubectl logs, exec and port-forward. The kubelet
	// asks the API server whether it may.
	bind("kubembed:kubelet-api-admin", rbacv1.UserKind, clientcert.KubeletClientUser, "system:kubelet-api-admin")
	return bindings
}

// joinRoleName is the role of clients with a join token.
const joinRoleName = "kubembed:node-bootstrapper"

// joinRole is upstream's system:node-bootstrapper without list and watch, which show the
// certificate requests of all clients. An authorizer of package authz grants kubelets
// list and watch of their own request.
func joinRole() rbacv1.ClusterRole {
	return rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{
			Name:        joinRoleName,
			Labels:      maps.Clone(bootstrappolicy.Label),
			Annotations: maps.Clone(bootstrappolicy.Annotation),
		},
		Rules: []rbacv1.PolicyRule{{
			Verbs:     []string{"create", "get"},
			APIGroups: []string{certificatesv1.GroupName},
			Resources: []string{"certificatesigningrequests"},
		}},
	}
}
