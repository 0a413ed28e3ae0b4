// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
)

// webhook serves admission reviews with TLS on loopback, and returns the client
// configuration for it.
func webhook(t testing.TB, answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) admissionregistrationv1.WebhookClientConfig {
	t.Helper()
	server := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = answer(review.Request)
		review.Response.UID = review.Request.UID
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
	url := server.URL + "/review"
	return admissionregistrationv1.WebhookClientConfig{
		URL:      &url,
		CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
}

// unreachable is the client configuration of a webhook without a server.
func unreachable(t testing.TB) admissionregistrationv1.WebhookClientConfig {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	url := "https://" + server.Listener.Addr().String()
	server.Listener.Close()
	return admissionregistrationv1.WebhookClientConfig{URL: &url}
}

func (p *plane) validatingWebhook(t testing.TB, namespace string, c admissionregistrationv1.WebhookClientConfig, policy admissionregistrationv1.FailurePolicyType) {
	t.Helper()
	none := admissionregistrationv1.SideEffectClassNone
	must(p.admin().AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "validating.example.com", ClientConfig: c, Rules: []admissionregistrationv1.RuleWithOperations{podCreation},
			FailurePolicy: &policy, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, NamespaceSelector: inNamespace(namespace),
		}},
	}, metav1.CreateOptions{}))(t)
}

func TestValidatingWebhook(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	p.validatingWebhook(t, ns, webhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		var pod corev1.Pod
		if err := json.Unmarshal(r.Object.Raw, &pod); err != nil || r.UserInfo.Username != "kubernetes-admin" {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: fmt.Sprint("a strange review", r.UserInfo, err)}}
		}
		return &admissionv1.AdmissionResponse{
			Allowed:  pod.Name == "good",
			Result:   &metav1.Status{Message: "only good pods", Code: http.StatusForbidden},
			Warnings: []string{"you were seen"},
		}
	}), admissionregistrationv1.Fail)
	testwait.Until(t, "the webhook refuses", func(context.Context) error {
		_, err := p.createPod(t, ns, pod("bad"), dryRun)
		return refused(err, "only good pods")
	})
	must(p.createPod(t, ns, pod("good"), metav1.CreateOptions{}))(t)
	a := p.call(t, p.inProcess(t), http.MethodPost, "/api/v1/namespaces/"+ns+"/pods?dryRun=All",
		`{"metadata":{"name":"good"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	// The object exists. The server checks that after admission.
	if warnings := a.want(t, http.StatusConflict).header.Values("Warning"); len(warnings) != 1 {
		t.Errorf("got warnings %q, want one", warnings)
	}
}

func TestMutatingWebhook(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	none, fail := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	must(p.admin().AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mutating.example.com", Rules: []admissionregistrationv1.RuleWithOperations{podCreation},
			FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, NamespaceSelector: inNamespace(ns),
			ClientConfig: webhook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				kind := admissionv1.PatchTypeJSONPatch
				return &admissionv1.AdmissionResponse{
					Allowed: true, PatchType: &kind,
					Patch: []byte(`[{"op":"add","path":"/metadata/annotations","value":{"mutated":"yes"}}]`),
				}
			}),
		}},
	}, metav1.CreateOptions{}))(t)
	testwait.Until(t, "the webhook changes the pod", func(context.Context) error {
		created, err := p.createPod(t, ns, pod("any"), dryRun)
		if err != nil || created.Annotations["mutated"] != "yes" {
			return fmt.Errorf("annotations %v, %w", created.GetAnnotations(), errors.Join(err))
		}
		return nil
	})
}

func TestUnreachableWebhook(t *testing.T) {
	p := sharedPlane(t)
	fails, ignores := p.namespace(t), p.namespace(t)
	p.validatingWebhook(t, ignores, unreachable(t), admissionregistrationv1.Ignore)
	p.validatingWebhook(t, fails, unreachable(t), admissionregistrationv1.Fail)
	// Webhooks take effect in the order of their creation.
	testwait.Until(t, "failurePolicy Fail", func(context.Context) error {
		_, err := p.createPod(t, fails, pod("any"), dryRun)
		if err == nil {
			return errors.New("the webhook does not refuse")
		}
		if want := "failed calling webhook"; !contains(err, want) {
			return fmt.Errorf("%w, want %q", err, want)
		}
		return nil
	})
	must(p.createPod(t, ignores, pod("any"), metav1.CreateOptions{}))(t)
}

// TestWebhookOfAnotherCA verifies that the server ignores a webhook whose certificate is
// not of a CA in caBundle.
func TestWebhookOfAnotherCA(t *testing.T) {
	p := sharedPlane(t)
	ns := p.namespace(t)
	c := webhook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true}
	})
	c.CABundle = p.pki.CABundle()
	p.validatingWebhook(t, ns, c, admissionregistrationv1.Fail)
	testwait.Until(t, "the webhook's certificate is refused", func(context.Context) error {
		_, err := p.createPod(t, ns, pod("any"), dryRun)
		if !contains(err, "certificate signed by unknown authority") {
			return fmt.Errorf("%w, want a TLS error", errors.Join(err))
		}
		return nil
	})
}
