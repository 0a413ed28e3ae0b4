// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// table is the host's table of rights: users with the resource that they may get.
type table map[string]string

func (t table) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == "get" && t[a.GetUser().GetName()] == a.GetResource() && a.GetResource() != "" {
		return authorizer.DecisionAllow, "in the table", nil
	}
	return authorizer.DecisionNoOpinion, "not in the table", nil
}

func (t table) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(t.Authorize(ctx, a))
}

func (t table) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

func (t table) RulesFor(_ context.Context, info user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if t[info.GetName()] == "" {
		return nil, nil, false, nil
	}
	return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{
		Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{t[info.GetName()]},
	}}, nil, false, nil
}

// TestGoAuthorizers has authorizers of the host around upstream's.
func TestGoAuthorizers(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authorization.Authorizers = []apiserver.Authorizer{
			{Name: "table", Authorizer: table{"guest": "configmaps"}},
			{Name: "no-deletes", Before: "rbac", Authorizer: decides(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string) {
				switch {
				case a.GetUser().GetName() == "kubernetes-admin":
					panic("asked about system:masters")
				case a.GetVerb() == "delete":
					return authorizer.DecisionDeny, "nothing is deleted today"
				}
				return authorizer.DecisionNoOpinion, ""
			})},
		}
	})
	ctx := t.Context()

	t.Run("before rbac", func(t *testing.T) {
		p.bind(t, "jane", "cluster-admin")
		jane := clientset(t, p.as(t, "jane"))
		if err := listSecrets(ctx, jane); err != nil {
			t.Errorf("allowed by RBAC: got %v", err)
		}
		err := jane.CoreV1().Secrets(corev1.NamespaceDefault).Delete(ctx, "any", metav1.DeleteOptions{})
		wantForbidden(t, "denied by the authorizer", err)
		if !contains(err, "nothing is deleted today") {
			t.Errorf("got %v, want the reason", err)
		}
	})
	t.Run("after all", func(t *testing.T) {
		guest := clientset(t, p.as(t, "guest")).CoreV1()
		must(p.admin().CoreV1().ConfigMaps(corev1.NamespaceDefault).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "any"}}, metav1.CreateOptions{}))(t)
		must(guest.ConfigMaps(corev1.NamespaceDefault).Get(ctx, "any", metav1.GetOptions{}))(t)
		_, err := guest.Secrets(corev1.NamespaceDefault).Get(ctx, "any", metav1.GetOptions{})
		wantForbidden(t, "allowed by no authorizer", err)
		if !contains(err, "not in the table") {
			t.Errorf("got %v, want the reason", err)
		}
	})
	t.Run("rules", func(t *testing.T) {
		review := must(clientset(t, p.as(t, "guest")).AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
			&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{}))(t)
		listed := false
		for _, rule := range review.Status.ResourceRules {
			listed = listed || len(rule.Resources) == 1 && rule.Resources[0] == "configmaps"
		}
		if !listed {
			t.Errorf("got rules %+v, want those of the table", review.Status.ResourceRules)
		}
		if got := review.Status; !got.Incomplete || !strings.Contains(got.EvaluationError, `"no-deletes" does not list its rules`) {
			t.Errorf("got %v, %q, want incomplete, with the authorizers that do not list theirs", got.Incomplete, got.EvaluationError)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		metrics := p.get(t, "/metrics").body
		for _, want := range []string{`decision="denied",name="no-deletes",type="Go"`, `decision="allowed",name="table",type="Go"`, `decision="allowed",name="rbac",type="RBAC"`} {
			if !strings.Contains(metrics, "apiserver_authorization_decisions_total{"+want) {
				t.Errorf("no metric %s", want)
			}
		}
	})
	t.Run("acknowledged RBAC", func(t *testing.T) {
		client := clientset(t, p.as(t, "john"))
		for range 50 {
			p.bind(t, "john", "cluster-admin")
			if _, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); err != nil {
				t.Fatalf("directly after the binding: %v", err)
			}
			if err := p.admin().RbacV1().ClusterRoleBindings().Delete(ctx, "john", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); err == nil {
				t.Fatal("directly after the binding was deleted: allowed")
			}
		}
	})
}

// TestControlPlaneCannotBeDenied: a start with an authorizer that denies the control
// plane's own identities fails.
func TestControlPlaneCannotBeDenied(t *testing.T) {
	denies := func(denied func(authorizer.Attributes) bool) authorizer.Authorizer {
		return decides(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string) {
			if denied(a) {
				return authorizer.DecisionDeny, "not in the table"
			}
			return authorizer.DecisionNoOpinion, ""
		})
	}
	named := func(name string) authorizer.Authorizer {
		return denies(func(a authorizer.Attributes) bool { return a.GetUser().GetName() == name })
	}
	for name, c := range map[string]struct {
		authorizer authorizer.Authorizer
		want       string
	}{
		"the scheduler":     {named("system:kube-scheduler"), `denies user system:kube-scheduler to `},
		"controllers":       {named("system:kube-controller-manager"), `denies user system:kube-controller-manager to `},
		"the server":        {named("system:apiserver"), `denies user system:apiserver to get namespaces "kube-system" (not in the table)`},
		"calls of kubelets": {named("kube-apiserver-kubelet-client"), `would not work: logs, exec and port-forward`},
		"nodes":             {denies(func(a authorizer.Attributes) bool { return a.GetVerb() == "patch" }), `denies user system:node:kubembed-authorization-check to patch nodes/status "kubembed-authorization-check" (not in the table), so this would not work: kubelets`},
		"one that panics":   {decides(func(context.Context, authorizer.Attributes) (authorizer.Decision, string) { panic("a bug") }), `(authorizer "own" panicked`},
		"one that blocks": {decides(func(ctx context.Context, _ authorizer.Attributes) (authorizer.Decision, string) {
			<-ctx.Done()
			<-t.Context().Done()
			return 0, ""
		}), `(authorizer "own" has not returned within `},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := newPlane(t.TempDir(), func(config *apiserver.Config) {
				config.Authorization.Authorizers = []apiserver.Authorizer{{Name: "own", Before: "node", Authorizer: c.authorizer}}
			})
			for _, want := range []string{`apiserver: Config.Authorization.Authorizers[0]: authorizer "own" denies user `, c.want} {
				if !contains(err, want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if err == nil {
				t.Error(p.close())
			}
		})
	}
	t.Run("after rbac", func(t *testing.T) {
		// What RBAC allows, a later authorizer cannot deny.
		startPlane(t, func(config *apiserver.Config) {
			config.Authorization.Authorizers = []apiserver.Authorizer{{Name: "own", Authorizer: named("system:kube-scheduler")}}
		})
	})
}

// TestAuthorizationWithoutRBAC: RBAC leaves the chain with its API, and its place stays.
func TestAuthorizationWithoutRBAC(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.RuntimeConfig = map[string]string{"rbac.authorization.k8s.io/v1": "false"}
		c.Authorization.Configuration = chainOf(rbacType, nodeType)
		c.Authorization.Authorizers = []apiserver.Authorizer{
			{Name: "late", Authorizer: decides(func(context.Context, authorizer.Attributes) (authorizer.Decision, string) {
				return authorizer.DecisionAllow, ""
			})},
			{Name: "early", Before: "rbac", Authorizer: decides(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string) {
				if a.GetUser().GetName() == "jane" {
					return authorizer.DecisionDeny, "early"
				}
				return authorizer.DecisionNoOpinion, ""
			})},
		}
	})
	if err := listSecrets(t.Context(), clientset(t, p.as(t, "john"))); err != nil {
		t.Error(err)
	}
	wantForbidden(t, "jane", listSecrets(t.Context(), clientset(t, p.as(t, "jane"))))
	if err := p.SetAuthorization(t.Context(), chainOf(nodeType, rbacType)); err != nil {
		t.Error(err)
	}
	wantForbidden(t, "jane after a change", listSecrets(t.Context(), clientset(t, p.as(t, "jane"))))
}
