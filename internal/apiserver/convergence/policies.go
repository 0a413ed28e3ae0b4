// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"errors"
	"reflect"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/manifest"
	policy "k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

// Policies are the admission plugins that enforce policies.
type Policies []*policyPlugin

// policyPlugin is the plugin of a kind of policies. Upstream compiles changed policies in
// the background, and they are in force when all of them are compiled. It does not signal
// that, so the policies in force are compared with the stored ones.
type policyPlugin struct {
	policies, bindings policyInformer
	// hooks returns the policies of the API that are in force. It is nil if upstream's
	// fields have changed.
	hooks func() []policyHook
}

// policyInformer is the informer of policies or of their bindings.
type policyInformer struct {
	cache.SharedIndexInformer
	resource schema.GroupResource
	// policyOf returns the name of a binding's policy. It is nil for policies.
	policyOf func(any) string
}

// policyHook is a policy in force with its bindings.
type policyHook struct {
	policy    metav1.Object
	bindings  []metav1.Object
	paramKind *schema.GroupVersionKind
	params    cache.SharedIndexInformer // nil if the policy has no parameters, or they were not found
	err       error                     // set if the kind of parameters was not found
}

// Decorator returns a decorator that finds the plugins and returns them unchanged.
func (p *Policies) Decorator(factory clientgoinformers.SharedInformerFactory) admission.Decorator {
	v1 := factory.Admissionregistration().V1()
	return admission.DecoratorFunc(func(handler admission.Interface, _ string) admission.Interface {
		switch plugin := handler.(type) {
		case *validating.Plugin:
			if found := newPolicyPlugin(plugin.Plugin, validating.NewValidatingAdmissionPolicyAccessor, validating.NewValidatingAdmissionPolicyBindingAccessor); found != nil {
				found.policies.SharedIndexInformer, found.policies.resource = v1.ValidatingAdmissionPolicies().Informer(), admissionregistrationv1.Resource("validatingadmissionpolicies")
				found.bindings.SharedIndexInformer, found.bindings.resource = v1.ValidatingAdmissionPolicyBindings().Informer(), admissionregistrationv1.Resource("validatingadmissionpolicybindings")
				*p = append(*p, found)
			}
		case *mutating.Plugin:
			if found := newPolicyPlugin(plugin.Plugin, mutating.NewMutatingAdmissionPolicyAccessor, mutating.NewMutatingAdmissionPolicyBindingAccessor); found != nil {
				found.policies.SharedIndexInformer, found.policies.resource = v1.MutatingAdmissionPolicies().Informer(), admissionregistrationv1.Resource("mutatingadmissionpolicies")
				found.bindings.SharedIndexInformer, found.bindings.resource = v1.MutatingAdmissionPolicyBindings().Informer(), admissionregistrationv1.Resource("mutatingadmissionpolicybindings")
				*p = append(*p, found)
			}
		}
		return handler
	})
}

// newPolicyPlugin returns nil if the plugin is disabled.
func newPolicyPlugin[P, B runtime.Object, E policy.Evaluator](
	plugin *policy.Plugin[policy.PolicyHook[P, B, E]], policyAccessor func(P) policy.PolicyAccessor, bindingAccessor func(B) policy.BindingAccessor,
) *policyPlugin {
	found := &policyPlugin{bindings: policyInformer{policyOf: func(object any) string {
		binding, ok := object.(B)
		if !ok {
			return ""
		}
		return bindingAccessor(binding).GetPolicyName().Name
	}}}
	source, ok := policySource(plugin)
	if !ok {
		return found
	}
	if source == nil {
		return nil
	}
	found.hooks = func() (hooks []policyHook) {
		for _, hook := range source.Hooks() {
			each := policyHook{err: hook.ConfigurationError}
			each.policy, _ = meta.Accessor(hook.Policy)
			if strings.HasSuffix(each.policy.GetName(), manifest.StaticConfigSuffix) {
				continue // of a file, not of the API
			}
			for _, binding := range hook.Bindings {
				accessor, _ := meta.Accessor(binding)
				each.bindings = append(each.bindings, accessor)
			}
			if kind := policyAccessor(hook.Policy).GetParamKind(); kind != nil {
				kind := schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind)
				each.paramKind = &kind
			}
			if hook.ParamInformer != nil {
				each.params = hook.ParamInformer.Informer()
			}
			hooks = append(hooks, each)
		}
		return hooks
	}
	return found
}

// policySource returns the unexported field from which a plugin takes the compiled
// policies for each request. It is nil if the plugin is disabled. ok is false if upstream
// has no such field.
func policySource[H any](plugin *policy.Plugin[H]) (_ policy.Source[H], ok bool) {
	source := unexported.Field[policy.Source[H]](reflect.ValueOf(plugin).Elem(), "source")
	if source == nil {
		return nil, false
	}
	return *source, true
}

// affected reports whether policies of the plugin, or their bindings, have changed.
func (p *policyPlugin) affected(changed map[schema.GroupResource]latestChange) bool {
	_, policies := changed[p.policies.resource]
	_, bindings := changed[p.bindings.resource]
	return policies || bindings
}

// policyVersions are the versions of policies and their bindings at one time.
type policyVersions struct {
	policies, bindings objectVersions
	policyOf           map[string]string // by name of the binding
}

// objectVersions are resource versions by object name.
type objectVersions struct {
	byName map[string]uint64
	upTo   uint64 // byName has all changes up to this revision
}

// minimum returns the lowest version that an object in force may have.
func (v objectVersions) minimum(name string) uint64 {
	if version, ok := v.byName[name]; ok {
		return version
	}
	return v.upTo + 1 // created later
}

// upToDate reports whether no object in inForce is older than in v.
func (v objectVersions) upToDate(inForce objectVersions) bool {
	for name, version := range inForce.byName {
		if version < v.minimum(name) {
			return false
		}
	}
	return true
}

// active reports whether a policy has the binding.
func (v policyVersions) active(binding, policy string) bool {
	_, exists := v.policies.byName[policy]
	return exists && v.policyOf[binding] == policy
}

func (i policyInformer) versions(each func(metav1.Object)) objectVersions {
	// The revision first: the list may have later changes or not.
	v := objectVersions{upTo: revisionOf(i.GetStore().LastStoreSyncResourceVersion()), byName: map[string]uint64{}}
	for _, object := range i.GetStore().List() {
		if accessor, err := meta.Accessor(object); err == nil {
			v.byName[accessor.GetName()] = revisionOf(accessor.GetResourceVersion())
			each(accessor)
		}
	}
	return v
}

// stored returns the policies and bindings that the informers have.
func (p *policyPlugin) stored() policyVersions {
	v := policyVersions{policyOf: map[string]string{}}
	v.policies = p.policies.versions(func(metav1.Object) {})
	v.bindings = p.bindings.versions(func(binding metav1.Object) { v.policyOf[binding.GetName()] = p.bindings.policyOf(binding) })
	return v
}

// enforced returns the policies in force. Policies without bindings are never in force.
func (p *policyPlugin) enforced() policyVersions {
	v := policyVersions{
		policies: objectVersions{byName: map[string]uint64{}}, bindings: objectVersions{byName: map[string]uint64{}}, policyOf: map[string]string{},
	}
	for _, hook := range p.hooks() {
		v.policies.byName[hook.policy.GetName()] = revisionOf(hook.policy.GetResourceVersion())
		for _, binding := range hook.bindings {
			v.bindings.byName[binding.GetName()] = revisionOf(binding.GetResourceVersion())
			v.policyOf[binding.GetName()] = hook.policy.GetName()
		}
	}
	return v
}

// enforces reports whether wanted, or a later version of it, is in force.
func (p *policyPlugin) enforces(wanted policyVersions) bool {
	enforced, stored := p.enforced(), p.stored()
	if !wanted.policies.upToDate(enforced.policies) || !wanted.bindings.upToDate(enforced.bindings) {
		return false
	}
	for binding, policy := range wanted.policyOf {
		// Unless it has been deleted since.
		if wanted.active(binding, policy) && !enforced.active(binding, policy) && stored.active(binding, policy) {
			return false
		}
	}
	return true
}

// revisionOf returns 0 if resourceVersion is not a number.
func revisionOf(resourceVersion string) uint64 {
	v, _ := strconv.ParseUint(resourceVersion, 10, 64)
	return v
}

// errPolicyHooks is returned for versions of upstream whose fields this package does not
// know.
var errPolicyHooks = errors.New("this version of k8s.io/apiserver does not show which policies are in force: use the version in the go.mod of kubembed")
