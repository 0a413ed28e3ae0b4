// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

var webhookConfigurations = admissionregistrationv1.Resource("validatingwebhookconfigurations")

// TestWaitForInformersOfPermissions verifies that permissions which were written before
// WaitForInformers authorize the next request.
func TestWaitForInformersOfPermissions(t *testing.T) {
	t.Parallel()
	p := sharedPlane(t)
	bindings := p.admin().RbacV1().ClusterRoleBindings()
	jane := clientset(t, p.as(t, "settle-jane"))
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "settle"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "settle-jane"}},
	}
	for range 50 {
		created := must(bindings.Create(t.Context(), binding, metav1.CreateOptions{}))(t)
		if err := p.WaitForInformers(t.Context(), rbacv1.Resource("clusterrolebindings"), created.ResourceVersion); err != nil {
			t.Fatal(err)
		}
		if _, err := jane.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatalf("with the binding: got %v, want success", err)
		}
		events := must(bindings.Watch(t.Context(), metav1.ListOptions{ResourceVersion: created.ResourceVersion, FieldSelector: "metadata.name=settle"}))(t)
		if err := bindings.Delete(t.Context(), "settle", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		deleted := (<-events.ResultChan()).Object.(*rbacv1.ClusterRoleBinding)
		events.Stop()
		if err := p.WaitForInformers(t.Context(), rbacv1.Resource("clusterrolebindings"), deleted.ResourceVersion); err != nil {
			t.Fatal(err)
		}
		if _, err := jane.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Fatalf("without the binding: got %v, want 403", err)
		}
	}
}

// TestWaitForInformersOfWebhooks verifies that WaitForInformers waits for the handlers of
// informers, by which webhooks take effect.
func TestWaitForInformersOfWebhooks(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	webhooks := p.admin().AdmissionregistrationV1().ValidatingWebhookConfigurations()
	for range 50 {
		created := must(webhooks.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "settle"},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name:         "settle.example.com",
				ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: new("https://127.0.0.1:1/")},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				}},
				SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			}},
		}, metav1.CreateOptions{}))(t)
		if err := p.WaitForInformers(t.Context(), webhookConfigurations, created.ResourceVersion); err != nil {
			t.Fatal(err)
		}
		configMaps := p.admin().CoreV1().ConfigMaps("default")
		dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		if _, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, dry); err == nil {
			t.Fatal("the new webhook was not called")
		}
		events := must(webhooks.Watch(t.Context(), metav1.ListOptions{ResourceVersion: created.ResourceVersion}))(t)
		if err := webhooks.Delete(t.Context(), "settle", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		deleted := (<-events.ResultChan()).Object.(*admissionregistrationv1.ValidatingWebhookConfiguration)
		events.Stop()
		if err := p.WaitForInformers(t.Context(), webhookConfigurations, deleted.ResourceVersion); err != nil {
			t.Fatal(err)
		}
		if _, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, dry); err != nil {
			t.Fatalf("the deleted webhook was called: %v", err)
		}
	}
}

func TestWaitForInformersErrors(t *testing.T) {
	t.Parallel()
	p := sharedPlane(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("test ends the wait"))
	err := p.WaitForInformers(ctx, corev1.Resource("namespaces"), "999999999")
	if err == nil || !strings.Contains(err.Error(), "namespaces") || !strings.Contains(err.Error(), "test ends the wait") {
		t.Errorf("a future version: got %v, want the cause and the resource", err)
	}
	if err := p.WaitForInformers(t.Context(), corev1.Resource("namespaces"), "nonsense"); err == nil {
		t.Error("an invalid version: got no error")
	}
	if err := p.WaitForInformers(t.Context(), corev1.Resource("configmaps"), "999999999"); err != nil {
		t.Errorf("a resource without informer: got %v, want success", err)
	}
	err = p.WaitForStored(ctx, []access.StoredChange{{Key: "/registry/namespaces/nobody", Revision: 999999999}})
	if err == nil || !strings.Contains(err.Error(), "/registry/namespaces/nobody") {
		t.Errorf("a change that informers never see: got %v, want the cause and the key", err)
	}
	if err := p.WaitForStored(t.Context(), []access.StoredChange{{Key: "/registry/nothing/nobody", Revision: 999999999}}); err != nil {
		t.Errorf("a key without informer: got %v, want success", err)
	}
	err = p.WaitForAPIs(ctx, apiserver.APIs{GroupVersions: []schema.GroupVersion{{Group: "apps", Version: "v1"}}})
	if err != nil {
		t.Errorf("a served API: got %v, want success", err)
	}
}
