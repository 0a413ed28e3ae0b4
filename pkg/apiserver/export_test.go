// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"

	"github.com/kubembed/kubembed/internal/apiserver/rbacpolicy"
)

// OwnRBACPolicy returns the part of the bootstrap policy that upstream does not have.
func OwnRBACPolicy() *rbacrest.PolicyData {
	policy := rbacpolicy.New()
	return &rbacrest.PolicyData{
		ClusterRoles: slices.DeleteFunc(policy.ClusterRoles, func(r rbacv1.ClusterRole) bool {
			return !strings.HasPrefix(r.Name, "kubembed:")
		}),
		ClusterRoleBindings: slices.DeleteFunc(policy.ClusterRoleBindings, func(b rbacv1.ClusterRoleBinding) bool {
			return !strings.HasPrefix(b.Name, "kubembed:")
		}),
	}
}

// KnowsParams reports whether admission has found the parameters of all policies whose
// kinds are served.
func (s *Server) KnowsParams() bool { return s.waiter().KnowsParams() }

// AddPostStartHook adds a hook. If its name is one of the hooks that Start adds, the
// preparation fails.
func (s *Server) AddPostStartHook(name string) error {
	return s.aggregator.GenericAPIServer.AddPostStartHook(name, func(genericapiserver.PostStartHookContext) error { return nil })
}
