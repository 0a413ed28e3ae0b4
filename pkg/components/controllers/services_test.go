// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func quantity(text string) resource.Quantity { return resource.MustParse(text) }

// A Service has the addresses of its pods in Endpoints and EndpointSlices, and a
// PodDisruptionBudget limits evictions.
func TestServiceAndDisruption(t *testing.T) {
	p, _ := cluster(t, hollownode.Config{Count: 2}, controllers.Config{})
	service := &corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{Selector: labels("web"), Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := p.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	deploy(t, p, "web", 3)
	want := map[string]bool{}
	for _, pod := range p.pods(t, "web") {
		want[pod.Status.PodIP] = true
	}
	testwait.True(t, "EndpointSlices have the addresses of the pods", func() bool {
		list, err := p.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, slice := range list.Items {
			for _, endpoint := range slice.Endpoints {
				if *endpoint.Conditions.Ready && want[endpoint.Addresses[0]] {
					got++
				}
			}
		}
		return got == 3
	})
	testwait.Object(t, testwait.Named(p.CoreV1().RESTClient(), "endpoints", "default", "web"), &corev1.Endpoints{}, func(e *corev1.Endpoints) bool { //nolint:staticcheck // written by the controller
		return len(e.Subsets) == 1 && len(e.Subsets[0].Addresses) == 3
	})

	budget := &policyv1.PodDisruptionBudget{ObjectMeta: meta("web"), Spec: policyv1.PodDisruptionBudgetSpec{
		MinAvailable: new(intstr.FromInt32(3)), Selector: selector("web"),
	}}
	if _, err := p.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	allowed := func(count int32) {
		t.Helper()
		testwait.Object(t, testwait.Named(p.PolicyV1().RESTClient(), "poddisruptionbudgets", "default", "web"), &policyv1.PodDisruptionBudget{}, func(b *policyv1.PodDisruptionBudget) bool {
			return b.Status.ObservedGeneration == b.Generation && b.Status.CurrentHealthy == 3 && b.Status.DisruptionsAllowed == count
		})
	}
	allowed(0)
	victim := p.pods(t, "web")[0]
	evict := func() error {
		return p.PolicyV1().Evictions("default").Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: victim.Name, Namespace: "default"}})
	}
	if err := evict(); !apierrors.IsTooManyRequests(err) {
		t.Errorf("an eviction beyond the budget: got %v", err)
	}
	if _, err := p.PolicyV1().PodDisruptionBudgets("default").Patch(t.Context(), "web", "application/merge-patch+json", []byte(`{"spec":{"minAvailable":2}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	allowed(1)
	if err := evict(); err != nil {
		t.Errorf("an eviction within the budget: got %v", err)
	}
	untilRolledOut(t, p, "web")
}

// Endpoints of users are mirrored.
func TestMirroring(t *testing.T) {
	p := start(t, controlplane.Config{})
	p.run(t, controllers.New(controllers.Config{Controllers: []string{"endpointslicemirroring"}}))
	service := &corev1.Service{ObjectMeta: meta("db"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 5432}}}}
	if _, err := p.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	endpoints := &corev1.Endpoints{ObjectMeta: meta("db"), Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // mirrored by the controller
		Addresses: []corev1.EndpointAddress{{IP: "192.0.2.7"}}, Ports: []corev1.EndpointPort{{Port: 5432}},
	}}}
	if _, err := p.CoreV1().Endpoints("default").Create(t.Context(), endpoints, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.True(t, "there is an EndpointSlice", func() bool {
		list, err := p.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=db"})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items) == 1 && list.Items[0].Endpoints[0].Addresses[0] == "192.0.2.7"
	})
}

// An admission policy is type-checked against its resources.
func TestAdmissionPolicyStatus(t *testing.T) {
	p := start(t, controlplane.Config{})
	p.run(t, controllers.New(controllers.Config{}))
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "typo"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.replicas < 5"}}, // of spec
		},
	}
	policies := p.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	if _, err := policies.Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.True(t, "the mistake is found", func() bool {
		policy, err := policies.Get(t.Context(), "typo", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		checked := policy.Status.TypeChecking
		return checked != nil && len(checked.ExpressionWarnings) == 1 && strings.Contains(checked.ExpressionWarnings[0].Warning, "undefined field 'replicas'")
	})
}
