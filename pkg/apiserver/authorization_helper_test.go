// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// authorizationWebhook is an authorization webhook over TLS. It knows its client by a
// token, and counts the questions.
type authorizationWebhook struct {
	kubeconfig string // a file
	mu         sync.Mutex
	asked      []authorizationv1.SubjectAccessReviewSpec
}

func newAuthorizationWebhook(t testing.TB, answer func(authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus) *authorizationWebhook {
	t.Helper()
	const token = "of-the-api-server"
	h := &authorizationWebhook{}
	server := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "who asks?", http.StatusForbidden)
			return
		}
		h.mu.Lock()
		h.asked = append(h.asked, review.Spec)
		h.mu.Unlock()
		review.Status = answer(review.Spec)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
	h.kubeconfig = writeKubeconfig(t, 0o600, clientcmdapi.Cluster{
		Server:                   server.URL + "/authorize",
		CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}, clientcmdapi.AuthInfo{Token: token})
	return h
}

// about returns the number of questions about a user.
func (h *authorizationWebhook) about(name string) (count int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, spec := range h.asked {
		if spec.User == name {
			count++
		}
	}
	return count
}

func writeKubeconfig(t testing.TB, mode os.FileMode, cluster clientcmdapi.Cluster, info clientcmdapi.AuthInfo) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"], config.AuthInfos["u"] = &cluster, &info
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	return writeFile(t, "kubeconfig", string(must(clientcmd.Write(*config))(t)), mode)
}

// writeFile writes a file in a directory of its own.
func writeFile(t testing.TB, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(enterableDir(t), name)
	replaceFile(t, path, content, mode)
	return path
}

// replaceFile replaces a file in one step.
func replaceFile(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path+".new", mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// chainOf is an AuthorizationConfiguration of types of upstream and of webhooks.
func chainOf(authorizers ...apiserverv1.AuthorizerConfiguration) *apiserverv1.AuthorizationConfiguration {
	return &apiserverv1.AuthorizationConfiguration{Authorizers: authorizers}
}

var (
	nodeType = apiserverv1.AuthorizerConfiguration{Type: "Node", Name: "node"}
	rbacType = apiserverv1.AuthorizerConfiguration{Type: "RBAC", Name: "rbac"}
	abacType = apiserverv1.AuthorizerConfiguration{Type: "ABAC", Name: "abac"}
)

// webhookType is the configuration of a webhook that is asked if the conditions match.
func webhookType(name, kubeconfig string, conditions ...string) apiserverv1.AuthorizerConfiguration {
	c := apiserverv1.AuthorizerConfiguration{Type: "Webhook", Name: name, Webhook: &apiserverv1.WebhookConfiguration{
		Timeout:                                  metav1.Duration{Duration: 10 * time.Second},
		SubjectAccessReviewVersion:               "v1",
		MatchConditionSubjectAccessReviewVersion: "v1",
		FailurePolicy:                            "NoOpinion",
		ConnectionInfo:                           apiserverv1.WebhookConnectionInfo{Type: "KubeConfigFile", KubeConfigFile: &kubeconfig},
	}}
	for _, expression := range conditions {
		c.Webhook.MatchConditions = append(c.Webhook.MatchConditions, apiserverv1.WebhookMatchCondition{Expression: expression})
	}
	return c
}

// decides is an authorizer of the host that is one function.
type decides func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string)

func (d decides) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	decision, reason := d(ctx, a)
	return decision, reason, nil
}

func (d decides) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(d.Authorize(ctx, a))
}

func (decides) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// bind gives a user a ClusterRole.
func (p *plane) bind(t testing.TB, user, role string) {
	t.Helper()
	must(p.admin().RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}, metav1.CreateOptions{}))(t)
}

// listSecrets is a request that no user may make by default.
func listSecrets(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().Secrets(corev1.NamespaceDefault).List(ctx, metav1.ListOptions{})
	return err
}
