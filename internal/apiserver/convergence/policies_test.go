// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/tools/cache"
)

// TestPolicySource verifies that upstream's plugins still have the field that
// policySource reads.
func TestPolicySource(t *testing.T) {
	t.Parallel()
	const look = "see k8s.io/apiserver/pkg/admission/plugin/policy/generic/plugin.go: Dispatch takes the policies of a request from Plugin.source.Hooks"
	v, err := validating.NewPlugin(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := policySource(v.Plugin); !ok {
		t.Error("ValidatingAdmissionPolicy: " + look)
	}
	m, err := mutating.NewPlugin(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := policySource(m.Plugin); !ok {
		t.Error("MutatingAdmissionPolicy: " + look)
	}
}

func policyAt(name string, revision int) *admissionregistrationv1.ValidatingAdmissionPolicy {
	return &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: fmt.Sprint(revision)}}
}

func bindingAt(name, policy string, revision int) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: fmt.Sprint(revision)},
		Spec:       admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: policy},
	}
}

// testPolicyPlugin is a policyPlugin whose informers and policies in force are set by the
// test.
type testPolicyPlugin struct {
	policyPlugin
	inForce []policyHook
}

func newTestPolicyPlugin() *testPolicyPlugin {
	informer := func(example runtime.Object) policyInformer {
		return policyInformer{SharedIndexInformer: cache.NewSharedIndexInformer(&cache.ListWatch{}, example, 0, cache.Indexers{})}
	}
	p := &testPolicyPlugin{}
	p.policies, p.bindings = informer(policyAt("", 0)), informer(bindingAt("", "", 0))
	p.bindings.policyOf = func(object any) string {
		return object.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding).Spec.PolicyName
	}
	p.hooks = func() []policyHook { return p.inForce }
	return p
}

func (p *testPolicyPlugin) store(t *testing.T, objects ...runtime.Object) {
	t.Helper()
	for _, object := range objects {
		store := p.policies.GetStore()
		if _, ok := object.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding); ok {
			store = p.bindings.GetStore()
		}
		if err := store.Add(object); err != nil {
			t.Fatal(err)
		}
	}
}

func hookOf(policy metav1.Object, bindings ...metav1.Object) policyHook {
	return policyHook{policy: policy, bindings: bindings}
}

// TestPoliciesAreEnforced verifies that enforces compares the policies in force with
// those at the start of a wait: no policy is older and none is missing.
func TestPoliciesAreEnforced(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stored   []runtime.Object // at the start of the wait
		since    func(t *testing.T, p *testPolicyPlugin)
		enforced []policyHook
		want     bool
	}{
		"nothing":                     {want: true},
		"not compiled":                {stored: []runtime.Object{policyAt("p", 5), bindingAt("b", "p", 6)}},
		"compiled":                    {stored: []runtime.Object{policyAt("p", 5), bindingAt("b", "p", 6)}, enforced: []policyHook{hookOf(policyAt("p", 5), bindingAt("b", "p", 6))}, want: true},
		"older policy":                {stored: []runtime.Object{policyAt("p", 5), bindingAt("b", "p", 6)}, enforced: []policyHook{hookOf(policyAt("p", 4), bindingAt("b", "p", 6))}},
		"older binding":               {stored: []runtime.Object{policyAt("p", 5), bindingAt("b", "p", 6)}, enforced: []policyHook{hookOf(policyAt("p", 5), bindingAt("b", "p", 3))}},
		"newer":                       {stored: []runtime.Object{policyAt("p", 5), bindingAt("b", "p", 6)}, enforced: []policyHook{hookOf(policyAt("p", 7), bindingAt("b", "p", 8))}, want: true},
		"one of two bindings":         {stored: []runtime.Object{policyAt("p", 5), bindingAt("b", "p", 6), bindingAt("c", "p", 7)}, enforced: []policyHook{hookOf(policyAt("p", 5), bindingAt("b", "p", 6))}},
		"no binding":                  {stored: []runtime.Object{policyAt("p", 5)}, want: true},
		"no policy":                   {stored: []runtime.Object{bindingAt("b", "p", 6)}, want: true},
		"deleted, and still in force": {stored: []runtime.Object{policyAt("other", 9), bindingAt("other", "none", 9)}, enforced: []policyHook{hookOf(policyAt("p", 5), bindingAt("b", "p", 6))}},
		"binding deleted, and still in force": {
			stored: []runtime.Object{policyAt("p", 5), bindingAt("other", "none", 9)}, enforced: []policyHook{hookOf(policyAt("p", 5), bindingAt("b", "p", 6))},
		},
		"created since": {enforced: []policyHook{hookOf(policyAt("p", 5), bindingAt("b", "p", 6))}, want: true},
		"of another policy now": {
			stored: []runtime.Object{policyAt("p", 5), policyAt("q", 5), bindingAt("b", "q", 7)}, enforced: []policyHook{hookOf(policyAt("p", 5), bindingAt("b", "p", 6))},
		},
		"deleted since": {
			stored: []runtime.Object{policyAt("p", 5), bindingAt("b", "p", 6)}, want: true,
			since: func(t *testing.T, p *testPolicyPlugin) {
				t.Helper()
				if err := p.bindings.GetStore().Delete(bindingAt("b", "p", 8)); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTestPolicyPlugin()
			p.store(t, test.stored...)
			wanted := p.stored()
			if test.since != nil {
				test.since(t, p)
			}
			p.inForce = test.enforced
			if got := p.enforces(wanted); got != test.want {
				t.Errorf("enforces: got %t, want %t", got, test.want)
			}
		})
	}
}
