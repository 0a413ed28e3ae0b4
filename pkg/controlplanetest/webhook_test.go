// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// reviews returns a handler for admission reviews.
func reviews(answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		uid := review.Request.UID
		review.Response = answer(review.Request)
		review.Response.UID = uid
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}
}

// refusal returns a handler that refuses everything with a message.
func refusal(message string) http.HandlerFunc {
	return reviews(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: message, Code: http.StatusForbidden}}
	})
}

// configMapWebhooks are the webhooks of testdata/webhooks: they label every ConfigMap,
// and refuse it without the key "good".
func configMapWebhooks() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/mutate-configmap", reviews(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		kind := admissionv1.PatchTypeJSONPatch
		return &admissionv1.AdmissionResponse{
			Allowed: true, PatchType: &kind,
			Patch: []byte(`[{"op":"add","path":"/metadata/labels","value":{"mutated":"yes"}}]`),
		}
	}))
	mux.Handle("/validate-configmap", reviews(func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		var object corev1.ConfigMap
		if err := json.Unmarshal(r.Object.Raw, &object); err != nil {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: err.Error()}}
		}
		_, good := object.Data["good"]
		return &admissionv1.AdmissionResponse{Allowed: good, Result: &metav1.Status{Message: "not good", Code: http.StatusForbidden}}
	}))
	return mux
}

// tryConfigMap creates a ConfigMap with a dry run. With good it has that key.
func tryConfigMap(t controlplanetest.TB, cp *controlplanetest.ControlPlane, namespace string, good bool) (*corev1.ConfigMap, error) {
	t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "any-"}}
	if good {
		object.Data = map[string]string{"good": "yes"}
	}
	client := kubernetes.NewForConfigOrDie(cp.ClientConfig())
	return client.CoreV1().ConfigMaps(namespace).Create(context.Background(), object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

func wantError(t controlplanetest.TB, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one with %q", err, part)
		}
	}
}

// validating returns a configuration for ConfigMaps as a Go value.
func validating(name, path string) *admissionregistrationv1.ValidatingWebhookConfiguration {
	none, fail := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:         name + ".example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "any", Name: "any", Path: &path}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}
}

// TestWebhooksOneAfterAnother: each test is subject only to its own webhooks, from the
// first request on. All have the same names.
func TestWebhooksOneAfterAnother(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	for i := range 30 {
		message := fmt.Sprintf("refused by test %d", i)
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if _, err := tryConfigMap(t, cp, "default", false); err != nil {
				t.Fatalf("before the webhooks: %v", err)
			}
			cp.InstallWebhooks(t, controlplanetest.Webhooks{
				Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{validating("same", "/validate")},
				Handler:    refusal(message),
			})
			_, err := tryConfigMap(t, cp, "default", false)
			wantError(t, err, message)
		})
	}
}

func TestWebhooksFromManifests(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/webhooks/manifests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, webhooks := range map[string]controlplanetest.Webhooks{
		"directory": {Paths: []string{"testdata/webhooks"}},
		"file":      {Paths: []string{"testdata/webhooks/manifests.yaml"}},
		"FS":        {FS: os.DirFS("testdata/webhooks")},
		"bytes":     {Manifests: [][]byte{data}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cp := controlplanetest.Shared(t)
			namespace, other := cp.Namespace(t), cp.Namespace(t)
			webhooks.Handler = configMapWebhooks()
			webhooks.Namespaces = []string{namespace}
			server := cp.InstallWebhooks(t, webhooks)
			server.WaitReady(t)

			_, err := tryConfigMap(t, cp, namespace, false)
			wantError(t, err, `admission webhook "vconfigmap.example.com" denied the request: not good`)
			created, err := tryConfigMap(t, cp, namespace, true)
			if err != nil || created.Labels["mutated"] != "yes" {
				t.Errorf("labels %v, error %v", created.GetLabels(), err)
			}
			// The webhook is confined to its namespace.
			created, err = tryConfigMap(t, cp, other, false)
			if err != nil || created.Labels["mutated"] != "" {
				t.Errorf("in another namespace: labels %v, error %v", created.GetLabels(), err)
			}
		})
	}
}

func TestWebhooksOfConfig(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{Webhooks: controlplanetest.Webhooks{
		Paths: []string{"testdata/webhooks"}, Handler: configMapWebhooks(),
	}})
	if cp.WebhookServer() == nil {
		t.Fatal("no server")
	}
	_, err := tryConfigMap(t, cp, "default", false)
	wantError(t, err, "not good")
	// The end of the control plane removes the certificate directory of a user's
	// server.
	var directory string
	var r recorder
	r.run(func(t controlplanetest.TB) {
		cp := controlplanetest.New(t, controlplanetest.Config{Webhooks: controlplanetest.Webhooks{
			Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{validating("any", "/")},
		}})
		directory = cp.WebhookServer().CertDir
		if _, err := os.Stat(directory); err != nil {
			t.Errorf("%v", err)
		}
	})
	if r.failed {
		t.Error(r.text())
	}
	if _, err := os.Stat(directory); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory %q: %v", directory, err)
	}
}

func TestWebhooksOfNoUse(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.Shared(t)
	path := t.TempDir()
	for name, test := range map[string]struct {
		webhooks controlplanetest.Webhooks
		want     []string
	}{
		"nothing":           {want: []string{"Webhooks has no Paths"}},
		"empty directory":   {webhooks: controlplanetest.Webhooks{Paths: []string{path}}, want: []string{path}},
		"no such directory": {webhooks: controlplanetest.Webhooks{Paths: []string{"testdata/missing"}}, want: []string{"testdata/missing"}},
		"only others": {
			webhooks: controlplanetest.Webhooks{Paths: []string{"testdata/webhooks/service.yaml"}},
			want:     []string{"ValidatingWebhookConfiguration", "service.yaml"},
		},
		"two problems": {
			webhooks: controlplanetest.Webhooks{Manifests: [][]byte{[]byte(invalidWebhooks)}},
			want: []string{
				`Webhooks.Manifests[0], document 1 (ValidatingWebhookConfiguration "no-side-effects")`, "sideEffects",
				`document 2 (MutatingWebhookConfiguration "old")`, "v1beta1",
			},
		},
		"unknown type in a field": {
			webhooks: controlplanetest.Webhooks{Manifests: [][]byte{[]byte(
				"apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {name: x}\nwebhooks: [{name: 7}]")}},
			want: []string{"webhooks.name"},
		},
		"namespace": {
			webhooks: controlplanetest.Webhooks{
				Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{validating("any", "/"), nil},
				Namespaces: []string{"Not a name"},
			},
			want: []string{`Webhooks.Namespaces[0] "Not a name"`, "Webhooks.Validating[1] is nil"},
		},
		"the same twice": {
			webhooks: controlplanetest.Webhooks{
				Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{validating("same", "/"), validating("same", "/else")},
			},
			want: []string{`Webhooks.Validating[1] "same"`, "differs from Webhooks.Validating[0]"},
		},
		"conversion": {
			webhooks: controlplanetest.Webhooks{Conversion: []string{"missing.example.com"}, Handler: http.NotFoundHandler()},
			want:     []string{`Webhooks.Conversion[0]: no CustomResourceDefinition is called "missing.example.com"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := recorder{}
			r.run(func(t controlplanetest.TB) { cp.InstallWebhooks(t, test.webhooks) })
			if !r.failed {
				t.Error("it did not fail")
			}
			for _, want := range test.want {
				if !strings.Contains(r.text(), want) {
					t.Errorf("message without %q: %s", want, r.text())
				}
			}
		})
	}
	t.Cleanup(func() {
		client := kubernetes.NewForConfigOrDie(cp.ClientConfig()).AdmissionregistrationV1().ValidatingWebhookConfigurations()
		for _, name := range []string{"no-side-effects", "any", "same"} {
			if _, err := client.Get(context.Background(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("%s is installed: %v", name, err)
			}
		}
	})
}

const invalidWebhooks = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: no-side-effects
webhooks:
- name: a.example.com
  admissionReviewVersions: [v1]
  clientConfig:
    service: {name: a, namespace: b}
---
apiVersion: admissionregistration.k8s.io/v1beta1
kind: MutatingWebhookConfiguration
metadata:
  name: old
`

// TestWebhooksOfTwoTests: a second configuration with the same name and without
// namespaces is refused, and the message names the other test.
func TestWebhooksOfTwoTests(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	webhooks := controlplanetest.Webhooks{
		Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{validating("same", "/")}, Handler: refusal("no"),
	}
	cp.InstallWebhooks(t, webhooks)
	other := recorder{name: "TestOther"}
	other.run(func(t controlplanetest.TB) { cp.InstallWebhooks(t, webhooks) })
	if !other.failed || !strings.Contains(other.text(), t.Name()) || !strings.Contains(other.text(), "Webhooks.Namespaces") {
		t.Errorf("failed %v: %s", other.failed, other.text())
	}
	_, err := tryConfigMap(t, cp, "default", false)
	wantError(t, err, "denied the request: no")
}
