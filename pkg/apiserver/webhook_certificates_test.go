// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// certifiedWebhooks are webhooks of all kinds over HTTP/2. They know their client by its
// certificate, whose files a kubeconfig names.
type certifiedWebhooks struct {
	*httptest.Server
	dir        string
	kubeconfig string
	identities *pki.PKI

	mu   sync.Mutex
	seen map[string]string // the client of the last call, by path
}

func newCertifiedWebhooks(t testing.TB) *certifiedWebhooks {
	t.Helper()
	w := &certifiedWebhooks{dir: enterableDir(t), identities: must(pki.Open(pki.Config{}))(t), seen: map[string]string{}}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	w.EnableHTTP2 = true
	w.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
	w.StartTLS()
	t.Cleanup(w.Close)
	replaceFile(t, filepath.Join(w.dir, "ca.crt"), string(w.ca()), 0o644)
	w.replaceCertificate(t, "first")
	w.kubeconfig = filepath.Join(w.dir, "kubeconfig")
	replaceFile(t, w.kubeconfig, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: webhook, cluster: {server: "%s/KIND", certificate-authority: ca.crt}}]
users: [{name: server, user: {client-certificate: client.crt, client-key: client.key}}]
contexts: [{name: webhook, context: {cluster: webhook, user: server}}]
current-context: webhook
`, w.URL), 0o644)
	return w
}

func (w *certifiedWebhooks) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})
}

// replaceCertificate replaces the files of the client certificate.
func (w *certifiedWebhooks) replaceCertificate(t testing.TB, name string) {
	t.Helper()
	pair := must(w.identities.IssueClient(name, nil, 0))(t)
	replaceFile(t, filepath.Join(w.dir, "client.key"), string(pair.Key), 0o600)
	replaceFile(t, filepath.Join(w.dir, "client.crt"), string(pair.Cert), 0o644)
}

// of returns the kubeconfig of a kind of webhook.
func (w *certifiedWebhooks) of(t testing.TB, kind string) string {
	t.Helper()
	path := filepath.Join(w.dir, kind+".kubeconfig")
	replaceFile(t, path, strings.Replace(string(must(os.ReadFile(w.kubeconfig))(t)), "KIND", kind, 1), 0o644)
	return path
}

func (w *certifiedWebhooks) serve(answer http.ResponseWriter, r *http.Request) {
	client := "nobody"
	if len(r.TLS.PeerCertificates) > 0 {
		client = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	w.mu.Lock()
	w.seen[r.URL.Path] = client
	w.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	reply := func(review any, allow func()) {
		if err = json.Unmarshal(body, review); err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		allow()
		answer.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(answer).Encode(review)
	}
	switch r.URL.Path {
	case "/tokens":
		var review authenticationv1.TokenReview
		reply(&review, func() {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "jane"}}
		})
	case "/authorization":
		var review authorizationv1.SubjectAccessReview
		reply(&review, func() { review.Status.Allowed = review.Spec.User == "jane" })
	case "/images":
		var review imagepolicyv1alpha1.ImageReview
		reply(&review, func() { review.Status.Allowed = true })
	case "/admission":
		var review admissionv1.AdmissionReview
		reply(&review, func() {
			review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		})
	}
}

// unseen returns the webhooks whose last call did not come from a client.
func (w *certifiedWebhooks) unseen(client string) (paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, path := range []string{"/admission", "/audit", "/authorization", "/images", "/tokens"} {
		if w.seen[path] != client {
			paths = append(paths, path+" by "+w.seen[path])
		}
	}
	return paths
}

// TestWebhooksWithCertificateFiles: webhooks get the client certificate in the files that
// their kubeconfigs name, also after these have been replaced. Files that do not match
// change nothing. When the server has stopped, nothing reads them.
func TestWebhooksWithCertificateFiles(t *testing.T) {
	const namespace = "webhooks"
	hooks := newCertifiedWebhooks(t)
	manifests := filepath.Dir(written(t, hooks.dir, "manifests/webhook.json", staticWebhook(t, "ValidatingWebhookConfiguration", namespace, hooks.URL+"/admission", hooks.ca())))
	images, authorization := hooks.of(t, "images"), hooks.of(t, "authorization")
	p, err := newPlane(t.TempDir(), func(c *apiserver.Config) {
		c.Authentication.Webhook = apiserver.TokenWebhook{KubeconfigFile: hooks.of(t, "tokens"), CacheTTL: time.Nanosecond}
		c.Authorization.Configuration = chainOf(nodeType, rbacType, apiserverv1.AuthorizerConfiguration{Type: "Webhook", Name: "webhook", Webhook: &apiserverv1.WebhookConfiguration{
			Timeout: metav1.Duration{Duration: 30 * time.Second}, SubjectAccessReviewVersion: "v1", MatchConditionSubjectAccessReviewVersion: "v1", FailurePolicy: "Deny",
			AuthorizedTTL: metav1.Duration{Duration: time.Nanosecond}, UnauthorizedTTL: metav1.Duration{Duration: time.Nanosecond},
			ConnectionInfo: apiserverv1.WebhookConnectionInfo{Type: "KubeConfigFile", KubeConfigFile: &authorization},
		}})
		c.Audit.Policy = &auditv1.Policy{Rules: []auditv1.PolicyRule{{Level: auditv1.LevelMetadata}}}
		c.Audit.Webhook = apiserver.AuditWebhook{KubeconfigFile: hooks.of(t, "audit"), Delivery: apiserver.AuditDelivery{Mode: apiserver.AuditBlocking}}
		c.EnableAdmissionPlugins = []string{"ImagePolicyWebhook"}
		c.Admission.Configuration = &apiserverv1.AdmissionConfiguration{Plugins: []apiserverv1.AdmissionPluginConfiguration{
			configuration(t, "ImagePolicyWebhook", map[string]any{"imagePolicy": map[string]any{"kubeConfigFile": images, "allowTTL": 1, "denyTTL": 1}}),
			{Name: "ValidatingAdmissionWebhook", Configuration: &runtime.Unknown{Raw: []byte(fmt.Sprintf(
				`{"apiVersion":"apiserver.config.k8s.io/v1","kind":"WebhookAdmissionConfiguration","kubeConfigFile":%q,"staticManifestsDir":%q}`, hooks.of(t, "hooks"), manifests))}},
		}}
	})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = p.close()
		}
	}()
	must(p.admin().CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}))(t)
	n := 0
	use := func() error {
		n++
		token := clientset(t, p.bearer(fmt.Sprint("token-", n)))
		pod := pod(fmt.Sprint("pod-", n))
		pod.Spec.Containers[0].Image = fmt.Sprint("image-", n)
		_, err := token.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
		return err
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	if got := hooks.unseen("first"); len(got) > 0 {
		t.Errorf("webhooks that were not called with the first certificate: %q", got)
	}
	replaceFile(t, filepath.Join(hooks.dir, "client.key"), "no key", 0o600)
	if err := use(); err != nil {
		t.Errorf("with a file that is no key: %v", err)
	}
	hooks.replaceCertificate(t, "second")
	testwait.True(t, "all webhooks are called with the second certificate", func() bool {
		if err := use(); err != nil {
			t.Errorf("while the certificate was replaced: %v", err)
			return true
		}
		return len(hooks.unseen("second")) == 0
	})
	closed = true
	if err := p.close(); err != nil {
		t.Error(err)
	}
	for _, g := range must(lifecycle.AllGoroutines())(t) {
		if slices.ContainsFunc(g.Stack, func(f string) bool { return strings.Contains(f, "dynamicClientCert") }) {
			t.Errorf("%d goroutines of a client certificate have outlived the server: %q", g.Count, g.Stack)
		}
	}
}
