// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/internal/apiserver/authz"
)

// Authorization configures who may do what. Its zero value asks the Node authorizer and
// RBAC. Group system:masters has all permissions in any case.
type Authorization struct {
	// Modes are the authorizers, in this order, like kube-apiserver's
	// --authorization-mode: Node, RBAC, ABAC, AlwaysAllow, AlwaysDeny. The first one with
	// an opinion decides. They cannot be set together with Configuration or
	// ConfigurationFile. If empty, Node and RBAC.
	Modes []string
	// Configuration is the chain of authorizers, with webhooks.
	Configuration *apiserverv1.AuthorizationConfiguration
	// ConfigurationFile is the path of a file with an AuthorizationConfiguration. The
	// server reads it again when it changes. See kube-apiserver's --authorization-config.
	ConfigurationFile string
	// PolicyFile is the path of the policy of mode ABAC, one JSON object per line.
	PolicyFile string
	// Authorizers are the host's own.
	Authorizers []Authorizer
}

// Authorizer is an authorizer of the host's own.
type Authorizer struct {
	// Name is unique in the chain. It is in metrics and audit events.
	Name string
	// Authorizer decides. If it also implements authorizer.RuleResolver, its rules are in
	// the output of kubectl auth can-i --list. A panic in it denies the request.
	Authorizer authorizer.Authorizer
	// Before is the name of the authorizer in the chain that it is asked before, like
	// "node" or "rbac". If empty, it is asked last.
	Before string
}

// Clone returns a deep copy, except of the authorizers.
func (a Authorization) Clone() Authorization {
	a.Modes = slices.Clone(a.Modes)
	a.Configuration = a.Configuration.DeepCopy()
	a.Authorizers = slices.Clone(a.Authorizers)
	return a
}

func (a Authorization) validate(at *field.Path) (errs field.ErrorList) {
	for i, mode := range a.Modes {
		path := at.Child("Modes").Index(i)
		switch {
		case !slices.Contains(authz.Modes, mode):
			errs = append(errs, field.NotSupported(path, mode, authz.Modes))
		case slices.Contains(a.Modes[:i], mode):
			errs = append(errs, field.Duplicate(path, mode))
		}
	}
	return errs
}

// modes returns Modes or the default.
func (a Authorization) modes() []string {
	if len(a.Modes) == 0 {
		return authz.DefaultModes
	}
	return a.Modes
}
