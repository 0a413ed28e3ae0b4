// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/internal/testwait"
)

const paramName = "params"

// createParameterized creates a policy with a parameter.
func (p *plane) createParameterized(t *testing.T, kind admissionregistrationv1.ParamKind, expression, namespace string) {
	t.Helper()
	client := p.admin().AdmissionregistrationV1()
	must(client.ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			ParamKind:        &kind,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: podCreation}}},
			Validations:      []admissionregistrationv1.Validation{{Expression: expression, Message: "it is enforced"}},
		},
	}, metav1.CreateOptions{}))(t)
	must(client.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        namespace,
			ParamRef:          &admissionregistrationv1.ParamRef{Name: paramName, Namespace: namespace, ParameterNotFoundAction: ptr.To(admissionregistrationv1.AllowAction)},
			MatchResources:    &admissionregistrationv1.MatchResources{NamespaceSelector: inNamespace(namespace)},
			ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{}))(t)
}

// TestWaitForStoredParameters verifies that waits for policies include their parameters.
// Upstream watches custom resources that are parameters with informers of its own. It
// stops the informer of a built-in kind forever when the first policy with such
// parameters is deleted.
func TestWaitForStoredParameters(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	const group = "limits.example.com"
	widgets := p.widgets(t, group)
	for kind, test := range map[string]struct {
		kind       admissionregistrationv1.ParamKind
		expression string
		key        string
		set        func(t *testing.T, namespace string, size int64)
	}{
		"config map": {
			admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}, "params.data.size == '1'", "configmaps/",
			func(t *testing.T, namespace string, size int64) {
				t.Helper()
				object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: paramName}, Data: map[string]string{"size": strconv.FormatInt(size, 10)}}
				_, err := p.admin().CoreV1().ConfigMaps(namespace).Create(t.Context(), object, metav1.CreateOptions{})
				if apierrors.IsAlreadyExists(err) {
					_, err = p.admin().CoreV1().ConfigMaps(namespace).Update(t.Context(), object, metav1.UpdateOptions{})
				}
				if err != nil {
					t.Fatal(err)
				}
			},
		},
		"custom resource": {
			admissionregistrationv1.ParamKind{APIVersion: group + "/v1", Kind: "Widget"}, "params.spec.size == 1", group + "/widgets/",
			func(t *testing.T, namespace string, size int64) {
				t.Helper()
				must(widgets.Namespace(namespace).Apply(t.Context(), paramName, widget(group, paramName, size), metav1.ApplyOptions{FieldManager: "test"}))(t)
			},
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			namespace := p.namespace(t)
			test.set(t, namespace, 1)
			accepts := p.save(t, namespace+"/"+paramName, test.key)
			test.set(t, namespace, 2)
			refuses := p.save(t, namespace+"/"+paramName, test.key)
			p.createParameterized(t, test.kind, test.expression, namespace)
			policy := p.save(t, namespace, "validatingadmissionpolicies", "validatingadmissionpolicybindings")
			testwait.Until(t, "the policy is in force", func(context.Context) error { return p.enforced(t, namespace) })
			// Many changes, so that informers take a moment to see the last one.
			crowd := func(objects stored) stored {
				all := maps.Clone(objects)
				for key, value := range objects {
					for i := range 100 {
						name := fmt.Sprintf("%0*d", len(paramName), i)
						all[strings.TrimSuffix(key, paramName)+name] = strings.ReplaceAll(value, paramName, name)
					}
				}
				return all
			}
			accepts, refuses = crowd(accepts), crowd(refuses)
			try := func(when string, put, deleted stored, want bool) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), testwait.Timeout)
				defer cancel()
				if err := p.WaitForStored(ctx, p.write(t, put, deleted)); err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				if err := p.enforced(t, namespace); want != (err == nil) {
					t.Fatalf("%s: %v", when, err)
				}
			}
			for range 5 {
				try("the parameters accept", accepts, nil, false)
				try("the parameters refuse", refuses, nil, true)
			}
			try("without the policy", nil, policy, false)
			try("other parameters, without the policy", accepts, nil, false)
			try("the policy is back", policy, nil, false)
			try("the parameters refuse again", refuses, nil, true)
			try("policy and parameters at once", accepts, policy, false)
			both := maps.Clone(policy)
			maps.Copy(both, refuses)
			try("policy and parameters are back at once", both, nil, true)
		})
	}
}

// TestParametersThatAreNotServed verifies that a wait for policies does not wait for
// parameters of a built-in kind that is not served. Admission never finds such
// parameters.
func TestParametersThatAreNotServed(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	namespace := p.namespace(t)
	p.createParameterized(t, admissionregistrationv1.ParamKind{APIVersion: "apps/v1beta1", Kind: "Deployment"}, "params.metadata.name == 'x'", namespace)
	testwait.Until(t, "the policy is in force", func(context.Context) error {
		_, err := p.createPod(t, namespace, pod("enforced"), dryRun)
		if !contains(err, "failed to find resource referenced by paramKind") {
			return fmt.Errorf("the policy does not apply to the pod: %w", err)
		}
		return nil
	})
	if !p.KnowsParams() {
		t.Error("KnowsParams: got false, want true: Deployments of apps/v1beta1 are not served")
	}
}
