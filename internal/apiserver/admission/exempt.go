// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/authentication/user"
)

// ExemptServer returns a decorator of webhooks and policies, which clients define. Until
// the server is ready, and when it stops, they do not apply to the server's own writes. A
// webhook that refuses everything, or that hangs because its server starts after this
// one, would keep the server from repairing its RBAC policy and APIServices, and Start
// and Stop from returning. They never apply to the endpoints of the kubernetes Service:
// Stop waits for a write of them.
func ExemptServer(ready func() bool) admission.Decorator {
	return admission.DecoratorFunc(func(handler admission.Interface, name string) admission.Interface {
		switch name {
		case mutatingwebhook.PluginName, validatingwebhook.PluginName, mutatingpolicy.PluginName, validatingpolicy.PluginName:
			return exempt{handler, ready}
		}
		return handler
	})
}

type exempt struct {
	admission.Interface
	ready func() bool
}

var (
	_ admission.MutationInterface   = exempt{}
	_ admission.ValidationInterface = exempt{}
)

func (e exempt) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, ok := e.Interface.(admission.MutationInterface)
	if !ok || exemptWrite(a, e.ready) {
		return nil
	}
	return plugin.Admit(ctx, a, o)
}

func (e exempt) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, ok := e.Interface.(admission.ValidationInterface)
	if !ok || exemptWrite(a, e.ready) {
		return nil
	}
	return plugin.Validate(ctx, a, o)
}

// exemptWrite reports whether a is exempt. The check includes the server's group: neither
// a client certificate with the server's name nor the right to impersonate users makes a
// client exempt.
func exemptWrite(a admission.Attributes, ready func() bool) bool {
	info := a.GetUserInfo()
	if info == nil || info.GetName() != user.APIServerUser || !slices.Contains(info.GetGroups(), user.SystemPrivilegedGroup) {
		return false
	}
	switch a.GetResource().Resource {
	case "endpoints", "endpointslices":
		if a.GetNamespace() == metav1.NamespaceDefault && a.GetName() == "kubernetes" {
			return true
		}
	}
	return !ready()
}
