package convergence

import (
	"errors"
	"reflect"
	"strconv"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	policy "k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

// Policies are the admission plugins that enforce policies.
type Policies []*policyPlugin

// policyPlugin compiles the policies of a kind, once a second if they have changed. They
// are in force when all of them are compiled. Upstream does not signal that, so the policies
// in force are compared with the stored ones.
type policyPlugin struct {
	policies, bindings policyInformer
	// hooks returns the policies in force. It is nil if upstream has no such field.
	hooks func() []policyHook
}

// policyInformer is one of policies or of their bindings.
type policyInformer struct {
	cache.SharedIndexInformer
	resource schema.GroupResource
	// policyOf returns the name of a binding's policy.
	policyOf func(any) string
}

// policyHook is a policy that is in force with its bindings.
type policyHook struct {
	policy    metav1.Object
	bindings  []metav1.Object
	paramKind *schema.GroupVersionKind
	params    cache.SharedIndexInformer // nil if the policy has none, or they are not found
	err       error                     // parameters of that kind are not found
}

// Decorator finds the plugins, and decorates none.
func (p *Policies) Decorator(factory clientgoinformers.SharedInformerFactory) admission.Decorator {
	v1 := factory.Admissionregistration().V1()
	return admission.DecoratorFunc(func(handler admission.Interface, _ string) admission.Interface {
		switch plugin := handler.(type) {
		case *validating.Plugin:
			if one := newPolicyPlugin(plugin.Plugin, validating.NewValidatingAdmissionPolicyAccessor, validating.NewValidatingAdmissionPolicyBindingAccessor); one != nil {
				one.policies.SharedIndexInformer, one.policies.resource = v1.ValidatingAdmissionPolicies().Informer(), admissionregistrationv1.Resource("validatingadmissionpolicies")
				one.bindings.SharedIndexInformer, one.bindings.resource = v1.ValidatingAdmissionPolicyBindings().Informer(), admissionregistrationv1.Resource("validatingadmissionpolicybindings")
				*p = append(*p, one)
			}
		case *mutating.Plugin:
			if one := newPolicyPlugin(plugin.Plugin, mutating.NewMutatingAdmissionPolicyAccessor, mutating.NewMutatingAdmissionPolicyBindingAccessor); one != nil {
				one.policies.SharedIndexInformer, one.policies.resource = v1.MutatingAdmissionPolicies().Informer(), admissionregistrationv1.Resource("mutatingadmissionpolicies")
				one.bindings.SharedIndexInformer, one.bindings.resource = v1.MutatingAdmissionPolicyBindings().Informer(), admissionregistrationv1.Resource("mutatingadmissionpolicybindings")
				*p = append(*p, one)
			}
		}
		return handler
	})
}

// newPolicyPlugin returns nil if the plugin is switched off.
func newPolicyPlugin[P, B runtime.Object, E policy.Evaluator](
	plugin *policy.Plugin[policy.PolicyHook[P, B, E]], policyAccessor func(P) policy.PolicyAccessor, bindingAccessor func(B) policy.BindingAccessor,
) *policyPlugin {
	one := &policyPlugin{bindings: policyInformer{policyOf: func(object any) string {
		binding, ok := object.(B)
		if !ok {
			return ""
		}
		return bindingAccessor(binding).GetPolicyName().Name
	}}}
	source, ok := policySource(plugin)
	if !ok {
		return one
	}
	if source == nil {
		return nil
	}
	one.hooks = func() (hooks []policyHook) {
		for _, hook := range source.Hooks() {
			each := policyHook{err: hook.ConfigurationError}
			each.policy, _ = meta.Accessor(hook.Policy)
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
	return one
}

// policySource returns the source from which a plugin takes the compiled policies for each
// request, a field that upstream does not export. It is nil if the plugin is switched off.
// ok is false where upstream has no such field.
func policySource[H any](plugin *policy.Plugin[H]) (_ policy.Source[H], ok bool) {
	source := unexported.Field[policy.Source[H]](reflect.ValueOf(plugin).Elem(), "source")
	if source == nil {
		return nil, false
	}
	return *source, true
}

// affected reports whether policies of the plugin, or their bindings, are among what changed.
func (p *policyPlugin) affected(changed map[schema.GroupResource]latestChange) bool {
	_, policies := changed[p.policies.resource]
	_, bindings := changed[p.bindings.resource]
	return policies || bindings
}

// policyVersions are policies and their bindings at some time.
type policyVersions struct {
	policies, bindings objectVersions
	policyOf           map[string]string // by the name of a binding
}

// objectVersions are resource versions by name.
type objectVersions struct {
	of   map[string]uint64
	upTo uint64 // all changes up to this revision are in of
}

// least is the version that an object must have at least if it is there and up to date.
func (v objectVersions) least(name string) uint64 {
	if version, ok := v.of[name]; ok {
		return version
	}
	return v.upTo + 1 // It was created later.
}

// upToDate reports whether nothing that is there is older than in v.
func (v objectVersions) upToDate(there objectVersions) bool {
	for name, version := range there.of {
		if version < v.least(name) {
			return false
		}
	}
	return true
}

// active reports whether a policy has the binding.
func (v policyVersions) active(binding, policy string) bool {
	_, there := v.policies.of[policy]
	return there && v.policyOf[binding] == policy
}

func (i policyInformer) versions(each func(metav1.Object)) objectVersions {
	// The revision first: what comes after it may be in the list or not.
	v := objectVersions{upTo: revisionOf(i.GetStore().LastStoreSyncResourceVersion()), of: map[string]uint64{}}
	for _, object := range i.GetStore().List() {
		if accessor, err := meta.Accessor(object); err == nil {
			v.of[accessor.GetName()] = revisionOf(accessor.GetResourceVersion())
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

// enforced returns the policies in force, all of which have bindings.
func (p *policyPlugin) enforced() policyVersions {
	v := policyVersions{
		policies: objectVersions{of: map[string]uint64{}}, bindings: objectVersions{of: map[string]uint64{}}, policyOf: map[string]string{},
	}
	for _, hook := range p.hooks() {
		v.policies.of[hook.policy.GetName()] = revisionOf(hook.policy.GetResourceVersion())
		for _, binding := range hook.bindings {
			v.bindings.of[binding.GetName()] = revisionOf(binding.GetResourceVersion())
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

// errPolicyHooks is for a version of upstream that this package does not know.
var errPolicyHooks = errors.New("this version of k8s.io/apiserver does not show which policies are in force: use the version in the go.mod of kubembed")
