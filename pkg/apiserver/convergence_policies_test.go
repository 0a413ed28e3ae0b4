// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/testwait"
)

// ballast is the number of expressions that make the compilation of a policy slow. It
// takes several hundred milliseconds; waits poll every 20 ms.
const ballast = 150

func ballastExpression(i int) string {
	return fmt.Sprintf("object.metadata.name.startsWith('n') || size(object.metadata.name) + %d > 1 || object.metadata.name.matches('^[a-z]+-%d$')", i, i)
}

// policyObjects creates a policy for the pods of a namespace, with its binding. ballast
// makes its compilation slow.
type policyObjects func(t *testing.T, client admissionclient.AdmissionregistrationV1Interface, name string, ballast int)

func createValidating(t *testing.T, client admissionclient.AdmissionregistrationV1Interface, name string, ballast int) {
	t.Helper()
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: podCreation}}},
			Validations:      []admissionregistrationv1.Validation{{Expression: "object.metadata.name != 'enforced'", Message: "it is enforced"}},
		},
	}
	for i := range ballast {
		policy.Spec.Validations = append(policy.Spec.Validations, admissionregistrationv1.Validation{Expression: ballastExpression(i)})
	}
	must(client.ValidatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}))(t)
	must(client.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        name,
			MatchResources:    &admissionregistrationv1.MatchResources{NamespaceSelector: inNamespace(name)},
			ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{}))(t)
}

func createMutating(t *testing.T, client admissionclient.AdmissionregistrationV1Interface, name string, ballast int) {
	t.Helper()
	policy := &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			MatchConstraints:   &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: podCreation}}},
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType: admissionregistrationv1.PatchTypeJSONPatch,
				JSONPatch: &admissionregistrationv1.JSONPatch{Expression: `[JSONPatch{op: "add", path: "/metadata/labels", value: {"enforced": "yes"}}]`},
			}},
		},
	}
	for i := range ballast {
		policy.Spec.Variables = append(policy.Spec.Variables, admissionregistrationv1.Variable{Name: fmt.Sprintf("v%d", i), Expression: ballastExpression(i)})
	}
	must(client.MutatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}))(t)
	must(client.MutatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{
			PolicyName: name, MatchResources: &admissionregistrationv1.MatchResources{NamespaceSelector: inNamespace(name)},
		},
	}, metav1.CreateOptions{}))(t)
}

// stored are objects as etcd has them, by key.
type stored map[string]string

// save returns the stored objects of a name, which follows a namespace in keys of
// namespaced objects.
func (p *plane) save(t *testing.T, name string, resources ...string) stored {
	t.Helper()
	objects := stored{}
	for _, resource := range resources {
		key := "/registry/" + strings.TrimSuffix(resource, "/") + "/" + name
		got := must(p.etcd.Client().Get(t.Context(), key))(t)
		if len(got.Kvs) != 1 {
			t.Fatalf("no object at %s", key)
		}
		objects[key] = string(got.Kvs[0].Value)
	}
	return objects
}

// write puts objects into etcd and deletes others, without the API server. Like a
// rollback, it writes each object at a revision of its own.
func (p *plane) write(t *testing.T, put, deleted stored) (changes []access.StoredChange) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(put)) {
		revision := must(p.etcd.Client().Put(t.Context(), key, put[key]))(t).Header.Revision
		changes = append(changes, access.StoredChange{Key: key, Revision: revision})
	}
	for key := range deleted {
		revision := must(p.etcd.Client().Delete(t.Context(), key))(t).Header.Revision
		changes = append(changes, access.StoredChange{Key: key, Revision: revision, Deleted: true})
	}
	return changes
}

// enforced returns nil if the policy with the name of a namespace applies to its pods.
func (p *plane) enforced(t *testing.T, namespace string) error {
	t.Helper()
	created, err := p.createPod(t, namespace, pod("enforced"), dryRun)
	if contains(err, "it is enforced") || err == nil && created.Labels["enforced"] == "yes" {
		return nil
	}
	return fmt.Errorf("labels %v, error %v", created.GetLabels(), err)
}

// TestWaitForStoredPolicies verifies that policies that were written to etcd directly
// apply to requests when WaitForStored has returned. It returned at the start of the
// compilation, and old policies applied until its end.
func TestWaitForStoredPolicies(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	client := p.admin().AdmissionregistrationV1()
	for kind, test := range map[string]struct {
		create    policyObjects
		resources []string
	}{
		"validating": {createValidating, []string{"validatingadmissionpolicies", "validatingadmissionpolicybindings"}},
		"mutating":   {createMutating, []string{"mutatingadmissionpolicies", "mutatingadmissionpolicybindings"}},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			namespace, other := p.namespace(t), p.namespace(t)
			test.create(t, client, namespace, 0)
			test.create(t, client, other, ballast)
			light, heavy := p.save(t, namespace, test.resources...), p.save(t, other, test.resources...)
			testwait.Until(t, "the policies are in force", func(context.Context) error { return errors.Join(p.enforced(t, namespace), p.enforced(t, other)) })
			for round := range 2 {
				if err := p.WaitForStored(t.Context(), p.write(t, heavy, light)); err != nil {
					t.Fatal(err)
				}
				if p.enforced(t, namespace) == nil {
					t.Errorf("round %d: the deleted policy still applies after WaitForStored", round)
				}
				if err := p.WaitForStored(t.Context(), append(p.write(t, heavy, nil), p.write(t, light, nil)...)); err != nil {
					t.Fatal(err)
				}
				if err := p.enforced(t, namespace); err != nil {
					t.Errorf("round %d: the policy does not apply after WaitForStored: %v", round, err)
				}
			}
		})
	}
}
