// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/internal/nodeidentity"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

func TestStaticTokens(t *testing.T) {
	key := map[string][]string{nodeidentity.KeyExtra: {"hash"}, "scope": {"some"}}
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authentication.Tokens = []apiserver.StaticToken{
			{Token: "go-token", User: user.DefaultInfo{Name: "jane", Groups: []string{"dev"}}},
			{Token: "node-token", User: user.DefaultInfo{Name: "system:node:one", Groups: []string{user.NodesGroup}, Extra: key}},
		}
		c.Authentication.TokenFile = writeFile(t, "file", "file-token,john,42,\"dev,ops\"\n", 0o600)
	})
	wantUser(t, p.bearer("go-token"), "jane", "dev", "system:authenticated")
	wantUser(t, p.bearer("file-token"), "john", "dev", "ops", "system:authenticated")
	wantNobody(t, p.bearer("other-token"))
	// Only a client certificate has the key of a node.
	node := must(whoAmI(t, p.bearer("node-token")))(t)
	if _, ok := node.Extra[nodeidentity.KeyExtra]; ok || node.Username != "system:node:one" || len(node.Extra["scope"]) != 1 {
		t.Errorf("got %+v, want the node without a key", node)
	}
}

// TestTokenWebhook verifies that the webhook is asked over TLS about tokens that nobody
// else knows, and that a server works while the webhook does not.
func TestTokenWebhook(t *testing.T) {
	var asked atomic.Int64
	webhook := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.APIVersion != "authentication.k8s.io/v1" {
			t.Errorf("got a %s, %v; want a TokenReview of v1", review.APIVersion, err)
		}
		if !slices.Equal(review.Spec.Audiences, []string{"https://kubernetes.default.svc.cluster.local"}) {
			t.Errorf("got audiences %q, want the server's", review.Spec.Audiences)
		}
		review.Status = authenticationv1.TokenReviewStatus{}
		if review.Spec.Token == "webhook-token" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: review.Spec.Audiences, User: authenticationv1.UserInfo{Username: "jane", Groups: []string{"dev"}}}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: webhook.Certificate().Raw})
	kubeconfig := writeFile(t, "file", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: webhook
contexts: [{name: webhook, context: {cluster: webhook, user: ""}}]
clusters: [{name: webhook, cluster: {server: %q, certificate-authority-data: %s}}]
`, webhook.URL, must(json.Marshal(ca))(t)), 0o644)
	p := startPlane(t, func(c *apiserver.Config) { c.Authentication.Webhook.KubeconfigFile = kubeconfig })
	if n := asked.Load(); n != 0 {
		t.Errorf("the start asked the webhook %d times", n)
	}
	wantUser(t, p.bearer("webhook-token"), "jane", "dev", "system:authenticated")
	wantUser(t, p.bearer("webhook-token"), "jane", "dev", "system:authenticated")
	wantNobody(t, p.bearer("other-token"))
	if n := asked.Load(); n != 2 {
		t.Errorf("the webhook was asked %d times, want once for each token", n)
	}
	webhook.Close()
	wantNobody(t, p.bearer("third-token"))
	ns := p.namespace(t)
	wantUser(t, p.bearer(account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{})), "system:serviceaccount:"+ns+":robot",
		"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:"+ns)
}
