// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/server/healthz"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// fragile is an authorizer that fails in the way of the client's or the resource's name.
type fragile struct {
	decides
	released chan struct{}
}

func newFragile(released chan struct{}) fragile {
	f := fragile{released: released}
	f.decides = func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string) {
		switch {
		case a.GetResource() == "selfsubjectaccessreviews", a.GetResource() == "selfsubjectrulesreviews":
		case strings.HasPrefix(a.GetUser().GetName(), "creator-"):
			if a.GetVerb() == "create" {
				f.fail(strings.TrimPrefix(a.GetUser().GetName(), "creator-"))
			}
		default:
			f.fail(a.GetUser().GetName())
		}
		return authorizer.DecisionNoOpinion, ""
	}
	return f
}

func (f fragile) fail(how string) {
	switch how {
	case "panics":
		panic("a secret of the host")
	case "exits":
		runtime.Goexit()
	case "blocks":
		<-f.released // it does not look at its context
	}
}

// RulesFor implements authorizer.RuleResolver.
func (f fragile) RulesFor(_ context.Context, info user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	f.fail(info.GetName())
	return nil, nil, false, nil
}

// TestFailingAuthorizer: the failures of an authorizer have the answers of all code of
// the host, wherever upstream asks it. They are no denials, and no later authorizer
// allows the request.
func TestFailingAuthorizer(t *testing.T) {
	released := make(chan struct{})
	p := startPlane(t, func(c *apiserver.Config) {
		c.RequestTimeout = 3 * time.Second
		c.Authorization.Authorizers = []apiserver.Authorizer{
			{Name: "fragile", Before: "rbac", Authorizer: newFragile(released)},
			{Name: "generous", Authorizer: decides(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string) {
				if strings.HasPrefix(a.GetUser().GetName(), "system:") {
					return authorizer.DecisionNoOpinion, ""
				}
				return authorizer.DecisionAllow, ""
			})},
		}
	})
	t.Cleanup(func() { close(released) }) // before the stop
	const lease = `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"any"}}`
	for _, c := range []struct {
		how, text string
		code      int
		reason    metav1.StatusReason
	}{
		{"panics", `authorizer "fragile" panicked: the log of the server has the reason`, http.StatusInternalServerError, metav1.StatusReasonInternalError},
		{"exits", `authorizer "fragile" ended its goroutine`, http.StatusInternalServerError, metav1.StatusReasonInternalError},
		{"blocks", `authorizer "fragile" has not returned within `, http.StatusGatewayTimeout, metav1.StatusReasonTimeout},
	} {
		t.Run(c.how, func(t *testing.T) {
			t.Parallel()
			client := p.httpClient(t, must(p.pki.IssueClient(c.how, nil, 0))(t))
			creator := p.httpClient(t, must(p.pki.IssueClient("creator-"+c.how, nil, 0))(t))
			for name, got := range map[string]answer{
				"list":                  p.call(t, client, http.MethodGet, "/api/v1/namespaces/default/secrets", ""),
				"watch":                 p.call(t, client, http.MethodGet, "/api/v1/namespaces/default/secrets?watch=true", ""),
				"no resource":           p.call(t, client, http.MethodGet, "/metrics", ""),
				"impersonation":         p.call(t, client, http.MethodGet, "/api/v1/pods", "", "Impersonate-User: jane"),
				"impersonation, watch":  p.call(t, client, http.MethodGet, "/api/v1/pods?watch=true", "", "Impersonate-User: jane"),
				"a PUT that creates":    p.call(t, creator, http.MethodPut, "/apis/coordination.k8s.io/v1/namespaces/default/leases/any", lease),
				"timeout of the client": p.call(t, client, http.MethodGet, "/api/v1/pods?timeout=1s", ""),
			} {
				var status metav1.Status
				if err := json.Unmarshal([]byte(got.body), &status); err != nil || got.status != c.code || status.Reason != c.reason || !strings.Contains(status.Message, c.text) {
					t.Errorf("%s: got HTTP %d %s (%v), want %d, reason %s, %q", name, got.status, got.body, err, c.code, c.reason, c.text)
				}
				if strings.Contains(got.body, "secret of the host") {
					t.Errorf("%s: the client gets what only the log should have: %s", name, got.body)
				}
			}

			ctx := t.Context()
			secrets := &authorizationv1.ResourceAttributes{Verb: "list", Resource: "secrets", Namespace: "default"}
			review := must(p.admin().AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{User: c.how, ResourceAttributes: secrets},
			}, metav1.CreateOptions{}))(t).Status
			if review.Allowed || review.Denied || !strings.Contains(review.EvaluationError, c.text) {
				t.Errorf("SubjectAccessReview: got %+v, want evaluationError %q and no denial", review, c.text)
			}
			own := clientset(t, p.as(t, c.how)).AuthorizationV1()
			review = must(own.SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: secrets},
			}, metav1.CreateOptions{}))(t).Status
			if review.Allowed || review.Denied || !strings.Contains(review.EvaluationError, c.text) {
				t.Errorf("SelfSubjectAccessReview: got %+v, want evaluationError %q and no denial", review, c.text)
			}
			rules := must(own.SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
				Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"},
			}, metav1.CreateOptions{}))(t).Status
			if !rules.Incomplete || !strings.Contains(rules.EvaluationError, c.text) {
				t.Errorf("SelfSubjectRulesReview: got %+v, want it incomplete with evaluationError %q", rules, c.text)
			}
		})
	}
}

// check is a health check that fails as the query says.
func (f fragile) check(r *http.Request) error {
	f.fail(r.URL.Query().Get("fails"))
	return nil
}

// fragileMetrics fail in the way of the value.
type fragileMetrics struct {
	fragile
	how *atomic.Value
}

// Gather implements prometheus.Gatherer.
func (f fragileMetrics) Gather() ([]*dto.MetricFamily, error) {
	f.fail(f.how.Load().(string))
	return []*dto.MetricFamily{nil}, nil
}

// TestFailingChecksAndMetrics: the answers to requests for them have their names.
func TestFailingChecksAndMetrics(t *testing.T) {
	released := make(chan struct{})
	var how atomic.Value
	how.Store("not")
	p := startPlane(t, func(c *apiserver.Config) {
		c.RequestTimeout = 2 * time.Second
		c.ReadyzChecks = []healthz.HealthChecker{
			healthz.NamedCheck("one", newFragile(released).check),
			healthz.NamedGroupedCheck("two", "both", newFragile(released).check),
		}
		c.Metrics = fragileMetrics{newFragile(released), &how}
	})
	t.Cleanup(func() { close(released) }) // before the stop
	p.get(t, "/readyz").want(t, http.StatusOK)
	p.get(t, "/metrics").want(t, http.StatusOK)
	p.get(t, "/readyz?fails=panics&exclude=one&exclude=both").want(t, http.StatusOK)
	for fails, want := range map[string]struct {
		text string
		code int
	}{
		"panics": {" panicked: the log of the server has the reason", http.StatusInternalServerError},
		"exits":  {" ended its goroutine", http.StatusInternalServerError},
		"blocks": {" has not returned within ", http.StatusGatewayTimeout},
	} {
		how.Store(fails)
		if got := p.get(t, "/metrics").want(t, want.code).body; !strings.Contains(got, "Config.Metrics"+want.text) {
			t.Errorf("metrics: got %s, want %q", got, want.text)
		}
		if got := p.get(t, "/readyz?exclude=one&fails="+fails).want(t, http.StatusInternalServerError).body; !strings.Contains(got, "[+]one excluded: ok") || !strings.Contains(got, "[-]two failed") {
			t.Errorf("/readyz: got %s, want a failed check", got)
		}
		if got := p.get(t, "/readyz/one?fails="+fails).want(t, http.StatusInternalServerError).body; !strings.Contains(got, "Config.ReadyzChecks: the check one"+want.text) {
			t.Errorf("/readyz/one: got %s, want %q", got, want.text)
		}
	}
}
