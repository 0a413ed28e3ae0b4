// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	authorizationv1 "k8s.io/api/authorization/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// answers is a webhook's table: users whose name it knows are allowed or denied.
func answers(spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	switch {
	case strings.HasPrefix(spec.User, "hook-allowed"):
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "the webhook knows the user"}
	case strings.HasPrefix(spec.User, "hook-denied"):
		return authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "the webhook knows the user"}
	}
	return authorizationv1.SubjectAccessReviewStatus{Reason: "the webhook has no opinion"}
}

func TestAuthorizationWebhook(t *testing.T) {
	hook := newAuthorizationWebhook(t, answers)
	var dialed atomic.Int32
	const condition = `request.user.startsWith("hook-")`
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authorization.Configuration = chainOf(webhookType("hook", hook.kubeconfig, condition), nodeType, rbacType)
		c.Dialers.ControlPlane = func(ctx context.Context, network, address string) (net.Conn, error) {
			dialed.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	})
	ctx := t.Context()
	for user, allowed := range map[string]bool{"hook-allowed": true, "hook-denied": false, "hook-unknown": false} {
		p.bind(t, user, "cluster-admin")
		client := clientset(t, p.as(t, user))
		for range 3 {
			switch err := listSecrets(ctx, client); {
			case user == "hook-unknown" && err != nil:
				t.Errorf("%s: got %v, want what RBAC decides", user, err)
			case allowed && err != nil:
				t.Errorf("%s: %v", user, err)
			case user == "hook-denied":
				wantForbidden(t, user, err)
				if !contains(err, "the webhook knows the user") {
					t.Errorf("%s: got %v, want the reason", user, err)
				}
			}
		}
		if got := hook.about(user); got != 1 {
			t.Errorf("%s: the webhook was asked %d times for one request thrice, want 1: the answer is cached", user, got)
		}
	}
	if err := listSecrets(ctx, clientset(t, p.as(t, "jane"))); err == nil || hook.about("jane") != 0 {
		t.Errorf("jane: got %v and %d questions, want 403 and no question: the condition does not match", err, hook.about("jane"))
	}
	if hook.about("system:kube-scheduler") != 0 {
		t.Error("the start asked the webhook about an identity that does not match")
	}
	if dialed.Load() == 0 {
		t.Error("Dialers.ControlPlane has opened no connection")
	}

	t.Run("replaced while it serves", func(t *testing.T) {
		allowed := clientset(t, p.as(t, "hook-allowed"))
		if err := p.SetAuthorization(ctx, chainOf(rbacType, nodeType, webhookType("hook", hook.kubeconfig, condition))); err != nil {
			t.Fatal(err)
		}
		denied := clientset(t, p.as(t, "hook-denied"))
		if err := listSecrets(ctx, denied); err != nil {
			t.Errorf("rbac comes first: %v", err)
		}
		uncached := webhookType("hook", hook.kubeconfig, condition)
		uncached.Webhook.CacheAuthorizedRequests = new(false)
		if err := p.SetAuthorization(ctx, chainOf(uncached, rbacType, nodeType)); err != nil {
			t.Fatal(err)
		}
		wantForbidden(t, "the webhook comes first", listSecrets(ctx, denied))
		before := hook.about("hook-allowed")
		for range 3 {
			if err := listSecrets(ctx, allowed); err != nil {
				t.Error(err)
			}
		}
		if got := hook.about("hook-allowed") - before; got != 3 {
			t.Errorf("without the cache: got %d questions, want 3", got)
		}
		if err := p.SetAuthorization(ctx, chainOf(nodeType, rbacType)); err != nil {
			t.Fatal(err)
		}
		if err := listSecrets(ctx, denied); err != nil {
			t.Errorf("without the webhook: %v", err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		successes, failures := p.reloads(t, "success"), p.reloads(t, "failure")
		if successes == 0 {
			t.Error("the metric does not count changes")
		}
		denier := newAuthorizationWebhook(t, func(spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
			return authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "no"}
		})
		broken := webhookType("broken", hook.kubeconfig, `request.user ==`)
		for name, c := range map[string]struct {
			configuration *apiserverv1.AuthorizationConfiguration
			want          string
		}{
			"nil":                  {nil, "must not be nil"},
			"empty":                {chainOf(), "AuthorizationConfiguration.Authorizers: Required value"},
			"a type less":          {chainOf(rbacType), "missing required types: [Node]"},
			"a type more":          {chainOf(rbacType, nodeType, abacType), "ABAC"},
			"a type twice":         {chainOf(rbacType, nodeType, rbacType), "AuthorizationConfiguration.Authorizers[2].Type: Duplicate value"},
			"a name twice":         {chainOf(rbacType, nodeType, webhookType("a", hook.kubeconfig), webhookType("a", hook.kubeconfig)), "AuthorizationConfiguration.Authorizers[3].Name: Duplicate value"},
			"an unknown type":      {chainOf(rbacType, nodeType, apiserverv1.AuthorizerConfiguration{Type: "OPA", Name: "opa"}), `AuthorizationConfiguration.Authorizers[2].Type: Unsupported value: "OPA"`},
			"an expression":        {chainOf(rbacType, nodeType, broken), "AuthorizationConfiguration.Authorizers[2].MatchConditions[0].Expression: Invalid value"},
			"the control plane":    {chainOf(webhookType("denier", denier.kubeconfig), rbacType, nodeType), `authorizer "denier" denies user `},
			"a missing kubeconfig": {chainOf(rbacType, nodeType, webhookType("a", "/nowhere/kubeconfig")), "AuthorizationConfiguration.Authorizers[2].ConnectionInfo.KubeConfigFile: Invalid value"},
		} {
			if err := p.SetAuthorization(ctx, c.configuration); !contains(err, c.want) {
				t.Errorf("%s: got %v, want %q", name, err, c.want)
			}
			failures++
			if got := p.reloads(t, "failure"); got < failures {
				t.Errorf("%s: got %d failures in the metric, want %d at least", name, got, failures)
			}
		}
		if err := listSecrets(ctx, clientset(t, p.as(t, "hook-denied"))); err != nil {
			t.Errorf("after configurations that were refused: %v", err)
		}
	})
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.SetAuthorization(ctx, chainOf(nodeType, rbacType)); !contains(err, "the server has stopped") {
		t.Errorf("after Stop: got %v, want an error", err)
	}
}

// TestAuthorizationWebhookIsAway: only a decision of a webhook refuses a start.
func TestAuthorizationWebhookIsAway(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	address := listener.Addr().String()
	listener.Close()
	away := webhookType("away", writeKubeconfig(t, 0o600, clientcmdapi.Cluster{Server: "https://" + address}, clientcmdapi.AuthInfo{}))
	away.Webhook.FailurePolicy = "Deny"
	p := startPlane(t, func(c *apiserver.Config) {
		c.Logger = zap.New(core)
		c.Authorization.Configuration = chainOf(away, nodeType, rbacType)
	})
	if logs.FilterMessageSnippet("unknown whether it denies the control plane").FilterField(zap.String("authorizer", "away")).Len() != 1 {
		t.Errorf("got %v in the log, want a warning about the webhook", logs.All())
	}
	p.bind(t, "jane", "cluster-admin")
	if err := listSecrets(t.Context(), clientset(t, p.as(t, "jane"))); !contains(err, "connection refused") {
		t.Errorf("got %v, want what the failure policy says", err)
	}
	if err := listSecrets(t.Context(), p.admin()); err != nil {
		t.Errorf("system:masters: %v", err)
	}

	denier := newAuthorizationWebhook(t, func(spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{Denied: spec.User == "system:kube-scheduler", Reason: "who is that?"}
	})
	denied, err := newPlane(t.TempDir(), func(c *apiserver.Config) {
		c.Authorization.Configuration = chainOf(webhookType("denier", denier.kubeconfig), nodeType, rbacType)
	})
	if !contains(err, `Config.Authorization.Configuration: authorizer "denier" denies user system:kube-scheduler to `) || !contains(err, "(who is that?)") {
		t.Errorf("got %v, want the user", err)
	}
	if err == nil {
		t.Error(denied.close())
	}
}
