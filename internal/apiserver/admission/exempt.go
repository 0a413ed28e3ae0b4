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

// ExemptServer decorates the admission of webhooks and policies, which clients define:
// until the server is ready, and when it stops, they are not asked about what the server
// itself writes. One that refuses everything, or hangs because its server is started
// after this one, would keep the server from repairing its RBAC policy and APIServices,
// and Start and Stop from returning. They are never asked about the endpoints of the
// kubernetes Service: Stop waits for a write of them.
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
	if !ok || e.own(a) {
		return nil
	}
	return plugin.Admit(ctx, a, o)
}

func (e exempt) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, ok := e.Interface.(admission.ValidationInterface)
	if !ok || e.own(a) {
		return nil
	}
	return plugin.Validate(ctx, a, o)
}

// own reports whether a is exempt. The server is known by its group, too: a client
// certificate with its name does not make a client exempt, nor does the right to
// impersonate users.
func (e exempt) own(a admission.Attributes) bool {
	who := a.GetUserInfo()
	if who == nil || who.GetName() != user.APIServerUser || !slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup) {
		return false
	}
	switch a.GetResource().Resource {
	case "endpoints", "endpointslices":
		if a.GetNamespace() == metav1.NamespaceDefault && a.GetName() == "kubernetes" {
			return true
		}
	}
	return !e.ready()
}
