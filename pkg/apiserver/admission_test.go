// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

var dryRun = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}

// refused returns nil if err is a refusal with the reason why.
func refused(err error, why string) error {
	if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), why) {
		return fmt.Errorf("%w, want a refusal with %q", errors.Join(err), why)
	}
	return nil
}

func wantRefused(t testing.TB, err error, why string) {
	t.Helper()
	if err == nil {
		t.Errorf("got success, want a refusal with %q", why)
	} else if err := refused(err, why); err != nil {
		t.Error(err)
	}
}

// createPod creates a pod in a namespace.
func (p *plane) createPod(t testing.TB, namespace string, pod *corev1.Pod, opts metav1.CreateOptions) (*corev1.Pod, error) {
	t.Helper()
	return p.admin().CoreV1().Pods(namespace).Create(t.Context(), pod, opts)
}

func TestNamespaceLifecycle(t *testing.T) {
	p := sharedPlane(t)
	if _, err := p.createPod(t, "missing", pod("p"), metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("in a missing namespace: got %v, want 404", err)
	}
	namespaces := p.admin().CoreV1().Namespaces()
	for _, name := range []string{"default", "kube-system", "kube-public"} {
		wantForbidden(t, "deleting "+name, namespaces.Delete(t.Context(), name, metav1.DeleteOptions{}))
	}
	ns := p.namespace(t)
	if err := namespaces.Delete(t.Context(), ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := p.createPod(t, ns, pod("p"), metav1.CreateOptions{})
	wantRefused(t, err, "being terminated")
}

func TestLimitRanger(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	must(p.admin().CoreV1().LimitRanges(ns).Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "limits"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type:           corev1.LimitTypeContainer,
			DefaultRequest: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("5Mi")},
			Max:            corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("10Mi")},
		}}},
	}, metav1.CreateOptions{}))(t)
	created := must(p.createPod(t, ns, pod("small"), metav1.CreateOptions{}))(t)
	if got := created.Spec.Containers[0].Resources.Requests[corev1.ResourceMemory]; got.String() != "5Mi" {
		t.Errorf("the default request is %s", got.String())
	}
	large := pod("large")
	large.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
	_, err := p.createPod(t, ns, large, metav1.CreateOptions{})
	wantRefused(t, err, "maximum memory usage per Container is 10Mi")
}

// TestResourceQuota sets the status of a quota, with which the plugin compares, in place
// of the quota controller.
func TestResourceQuota(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	ns := p.namespace(t)
	quotas := p.admin().CoreV1().ResourceQuotas(ns)
	one := corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}
	must(quotas.Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "quota"}, Spec: corev1.ResourceQuotaSpec{Hard: one}}, metav1.CreateOptions{}))(t)
	status := func(used string) {
		t.Helper()
		patch := fmt.Appendf(nil, `{"status":{"hard":{"pods":"1"},"used":{"pods":%q}}}`, used)
		must(quotas.Patch(ctx, "quota", types.MergePatchType, patch, metav1.PatchOptions{}, "status"))(t)
	}
	status("1")
	testwait.Until(t, "the quota is used up", func(context.Context) error {
		_, err := p.createPod(t, ns, pod("none"), dryRun)
		return refused(err, "exceeded quota")
	})
	status("0")
	testwait.Until(t, "the quota is free", func(context.Context) error {
		_, err := p.createPod(t, ns, pod("first"), metav1.CreateOptions{})
		return err
	})
	quota := must(quotas.Get(ctx, "quota", metav1.GetOptions{}))(t)
	if used := quota.Status.Used[corev1.ResourcePods]; used.Value() != 1 {
		t.Errorf("got %s used pods", used.String())
	}
	testwait.Until(t, "the quota is used up again", func(context.Context) error {
		_, err := p.createPod(t, ns, pod("second"), dryRun)
		return refused(err, "exceeded quota")
	})
}

func TestPriority(t *testing.T) {
	p := sharedPlane(t)
	critical := pod("critical")
	critical.Spec.PriorityClassName = "system-cluster-critical"
	created := must(p.createPod(t, p.namespace(t), critical, metav1.CreateOptions{}))(t)
	if created.Spec.Priority == nil || *created.Spec.Priority != 2000000000 {
		t.Errorf("got priority %v", created.Spec.Priority)
	}
	unknown := pod("unknown")
	unknown.Spec.PriorityClassName = "unknown"
	_, err := p.createPod(t, p.namespace(t), unknown, metav1.CreateOptions{})
	wantRefused(t, err, "no PriorityClass with name unknown")
}

func TestPodSecurity(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t, "pod-security.kubernetes.io/enforce", "restricted")
	_, err := p.createPod(t, ns, pod("any"), metav1.CreateOptions{})
	wantRefused(t, err, `violates PodSecurity "restricted:latest"`)

	yes, no := true, false
	careful := pod("careful")
	careful.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no,
		RunAsNonRoot:             &yes,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	must(p.createPod(t, ns, careful, metav1.CreateOptions{}))(t)
}

// TestPrivilegedPod verifies that privileged pods are accepted. Upstream refuses them in
// a process that has not called capabilities.Setup.
func TestPrivilegedPod(t *testing.T) {
	p := sharedPlane(t)
	yes := true
	privileged := pod("privileged")
	privileged.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	must(p.createPod(t, p.namespace(t), privileged, metav1.CreateOptions{}))(t)
}

// inNamespace selects one namespace.
func inNamespace(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": name}}
}

var podCreation = admissionregistrationv1.RuleWithOperations{
	Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
	Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
}

func TestValidatingAdmissionPolicy(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	ns := p.namespace(t)
	fail := admissionregistrationv1.Fail
	client := p.admin().AdmissionregistrationV1()
	must(client.ValidatingAdmissionPolicies().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy:    &fail,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: podCreation}}},
			Validations: []admissionregistrationv1.Validation{{
				Expression:        "object.metadata.name.startsWith('good-')",
				MessageExpression: "'not a good name: ' + object.metadata.name",
			}},
		},
	}, metav1.CreateOptions{}))(t)
	must(client.ValidatingAdmissionPolicyBindings().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        ns,
			MatchResources:    &admissionregistrationv1.MatchResources{NamespaceSelector: inNamespace(ns)},
			ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{}))(t)
	testwait.Until(t, "the policy is enforced", func(context.Context) error {
		_, err := p.createPod(t, ns, pod("bad"), dryRun)
		return refused(err, "not a good name: bad")
	})
	must(p.createPod(t, ns, pod("good-one"), metav1.CreateOptions{}))(t)
	must(p.createPod(t, p.namespace(t), pod("bad"), metav1.CreateOptions{}))(t)
}

func TestMutatingAdmissionPolicy(t *testing.T) {
	p := sharedPlane(t)
	ctx := t.Context()
	ns := p.namespace(t)
	client := p.admin().AdmissionregistrationV1()
	fail := admissionregistrationv1.Fail
	must(client.MutatingAdmissionPolicies().Create(ctx, &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			FailurePolicy:      &fail,
			ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
			MatchConstraints:   &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: podCreation}}},
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType: admissionregistrationv1.PatchTypeApplyConfiguration,
				ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{
					Expression: `Object{metadata: Object.metadata{labels: {"mutated": "yes"}}}`,
				},
			}},
		},
	}, metav1.CreateOptions{}))(t)
	must(client.MutatingAdmissionPolicyBindings().Create(ctx, &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{
			PolicyName:     ns,
			MatchResources: &admissionregistrationv1.MatchResources{NamespaceSelector: inNamespace(ns)},
		},
	}, metav1.CreateOptions{}))(t)
	testwait.Until(t, "the policy takes effect", func(context.Context) error {
		created, err := p.createPod(t, ns, pod("any"), dryRun)
		if err != nil || created.Labels["mutated"] != "yes" {
			return fmt.Errorf("labels %v, %w", created.GetLabels(), errors.Join(err))
		}
		return nil
	})
}

// TestServiceAccountPluginIsOff verifies that pods can be created before a controller
// creates service accounts.
func TestServiceAccountPluginIsOff(t *testing.T) {
	p := sharedPlane(t)
	created := must(p.createPod(t, p.namespace(t), pod("any"), metav1.CreateOptions{}))(t)
	if created.Spec.ServiceAccountName != "" || len(created.Spec.Volumes) != 0 {
		t.Errorf("got account %q, volumes %v, want none", created.Spec.ServiceAccountName, created.Spec.Volumes)
	}
}

func TestChosenAdmissionPlugins(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.EnableAdmissionPlugins = []string{"AlwaysPullImages", "ServiceAccount"}
		c.DisableAdmissionPlugins = []string{"LimitRanger", "NodeRestriction"}
	})
	ctx := t.Context()
	core := p.admin().CoreV1()
	_, err := p.createPod(t, "default", pod("any"), metav1.CreateOptions{})
	wantRefused(t, err, `serviceaccount "default" not found`)

	must(core.LimitRanges("default").Create(ctx, &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "limits"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type:           corev1.LimitTypeContainer,
			DefaultRequest: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("5Mi")},
		}}},
	}, metav1.CreateOptions{}))(t)
	must(core.ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}))(t)
	created := must(p.createPod(t, "default", pod("any"), metav1.CreateOptions{}))(t)
	if created.Spec.ServiceAccountName != "default" || len(created.Spec.Volumes) != 1 {
		t.Errorf("ServiceAccount: got account %q, volumes %v", created.Spec.ServiceAccountName, created.Spec.Volumes)
	}
	container := created.Spec.Containers[0]
	if container.ImagePullPolicy != corev1.PullAlways {
		t.Errorf("AlwaysPullImages: got policy %s, want Always", container.ImagePullPolicy)
	}
	if len(container.Resources.Requests) != 0 {
		t.Errorf("LimitRanger is not disabled: got requests %v, want none", container.Resources.Requests)
	}
	nodes := p.node(t, "n").CoreV1().Nodes()
	_, err = nodes.Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"node-restriction.kubernetes.io/role": "x"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Errorf("NodeRestriction is not disabled: got %v, want success", err)
	}
}
