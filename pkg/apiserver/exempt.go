package apiserver

import (
	"context"

	"k8s.io/apiserver/pkg/admission"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/authentication/user"
)

// exemptStart decorates the admission of webhooks and policies, which clients define:
// until the server is ready they are not asked about what the server itself writes. One
// that refuses everything, or hangs, as its server is started only after this one,
// would otherwise keep it from repairing its RBAC policy, and a start from its end.
func (g *generic) exemptStart(handler admission.Interface, name string) admission.Interface {
	switch name {
	case mutatingwebhook.PluginName, validatingwebhook.PluginName, mutatingpolicy.PluginName, validatingpolicy.PluginName:
		return exempt{handler, g}
	}
	return handler
}

type exempt struct {
	admission.Interface
	generic *generic
}

var (
	_ admission.MutationInterface   = exempt{}
	_ admission.ValidationInterface = exempt{}
)

func (e exempt) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, ok := e.Interface.(admission.MutationInterface)
	if !ok || e.starts(a) {
		return nil
	}
	return plugin.Admit(ctx, a, o)
}

func (e exempt) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, ok := e.Interface.(admission.ValidationInterface)
	if !ok || e.starts(a) {
		return nil
	}
	return plugin.Validate(ctx, a, o)
}

// starts reports whether the server itself is the client, and not ready.
func (e exempt) starts(a admission.Attributes) bool {
	return !e.generic.started.Load() && a.GetUserInfo() != nil && a.GetUserInfo().GetName() == user.APIServerUser
}
