// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/union"

	"github.com/kubembed/kubembed/internal/hostcall"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// own is an authorizer of the host.
type own struct {
	authorize func(context.Context) (authorizer.Decision, string, error)
	// conditional is the decision if a caller accepts conditions.
	conditional func() authorizer.ConditionsAwareDecision
}

func (o own) Authorize(ctx context.Context, _ authorizer.Attributes) (authorizer.Decision, string, error) {
	return o.authorize(ctx)
}

func (o own) ConditionsAwareAuthorize(context.Context, authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return o.conditional()
}

func (o own) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "the condition holds", nil
}

var jane = authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "jane"}, Verb: "get", Resource: "pods", ResourceRequest: true}

func guard(a authorizer.Authorizer) guarded {
	return newGuarded(Host{Name: "own", Authorizer: a}, time.Minute, zap.NewNop())
}

// TestGuardedEnds verifies that a call ends with its request, also where the host does
// not look at the context, and that its goroutine is counted until it returns.
func TestGuardedEnds(t *testing.T) {
	release := make(chan struct{})
	g := guard(own{authorize: func(context.Context) (authorizer.Decision, string, error) {
		<-release
		return authorizer.DecisionAllow, "too late", nil
	}})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the client has gone"))
	if d, _, err := g.Authorize(ctx, jane); d != authorizer.DecisionDeny || err == nil || err.Error() != `authorizer "own" had not returned when the request ended: the client has gone` {
		t.Errorf("got %v, %v, want a denial with the cause", d, err)
	}
	g.timeout = time.Millisecond // as for a watch, which has no deadline
	if d, _, err := g.Authorize(t.Context(), jane); d != authorizer.DecisionDeny || err == nil || err.Error() != `authorizer "own" has not returned within 1ms` {
		t.Errorf("without a deadline: got %v, %v, want a denial", d, err)
	}
	if got := g.calls.Running(); got != 2 {
		t.Errorf("got %d running calls, want 2", got)
	}
	for hostcall.Go(g.calls, func() int { <-release; return 0 }, func(hostcall.Result[int]) {}) {
	}
	if d, _, err := g.Authorize(t.Context(), jane); d != authorizer.DecisionDeny || err == nil || !strings.Contains(err.Error(), `authorizer "own" is blocked`) {
		t.Errorf("with too many calls: got %v, %v, want a denial at once", d, err)
	}
	close(release)
}

// TestGuardedErrors verifies that an error of the host's has its authorizer's name.
func TestGuardedErrors(t *testing.T) {
	unavailable := errors.New("the table is unavailable")
	for _, decision := range []authorizer.Decision{authorizer.DecisionNoOpinion, authorizer.DecisionDeny, authorizer.DecisionAllow} {
		g := guard(authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
			return decision, "so", unavailable
		}))
		want := `authorizer "own": the table is unavailable`
		if d, reason, err := g.Authorize(t.Context(), jane); d != decision || reason != "so" || !errors.Is(err, unavailable) || err.Error() != want {
			t.Errorf("%v: got %v, %q, %v", decision, d, reason, err)
		}
		d := g.ConditionsAwareAuthorize(t.Context(), jane)
		if unconditional(d) != decision || d.Reason() != "so" || !errors.Is(d.Error(), unavailable) || d.Error().Error() != want {
			t.Errorf("%v, with conditions: got %v", decision, d)
		}
	}
	g := guard(authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionAllow, "", nil
	}))
	if _, _, err := g.Authorize(t.Context(), jane); err != nil {
		t.Errorf("without an error: %v", err)
	}
}

// TestGuardedConditions verifies that the conditions of a host's authorizer pass the
// guard and upstream's union, and that a panic does not.
func TestGuardedConditions(t *testing.T) {
	var conditions authorizer.ConditionsAwareDecisionUnion
	conditions.Add("inner", authorizer.ConditionsAwareDecisionAllow("by a condition", nil))
	for name, c := range map[string]struct {
		conditional func() authorizer.ConditionsAwareDecision
		allowed     bool
		text        string // the reason or the error
	}{
		"allowed": {func() authorizer.ConditionsAwareDecision { return conditions.ToDecision() }, true, "by a condition"},
		"panics":  {func() authorizer.ConditionsAwareDecision { panic("a bug") }, false, `authorizer "own" panicked`},
	} {
		chain := must(union.New(union.NamedAuthorizer{AuthorizerName: "own", Authorizer: guard(own{conditional: c.conditional})}))(t)
		got := chain.ConditionsAwareAuthorize(t.Context(), jane)
		if text := fmt.Sprint(got.Reason(), got.Error()); got.IsAllow() != c.allowed || !strings.Contains(text, c.text) {
			t.Errorf("%s: got %v (%s), want %q", name, got, text, c.text)
		}
	}
	if d, reason, err := guard(own{}).EvaluateConditions(t.Context(), conditions.ToDecision(), nil); d != authorizer.DecisionAllow || reason != "the condition holds" || err != nil {
		t.Errorf("got %v, %q, %v, want the evaluation of the host", d, reason, err)
	}
}

// lister is an authorizer of the host with rules.
type lister struct {
	own
	resource    []authorizer.ResourceRuleInfo
	nonResource []authorizer.NonResourceRuleInfo
}

func (l lister) RulesFor(context.Context, user.Info, string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return l.resource, l.nonResource, false, nil
}

type faultyRule struct{ authorizer.ResourceRuleInfo }

func (faultyRule) GetVerbs() []string { panic("no table") }

// TestFaultyRules: upstream's handler calls the methods of all rules.
func TestFaultyRules(t *testing.T) {
	good := &authorizer.DefaultResourceRuleInfo{Verbs: []string{"get"}, Resources: []string{"pods"}}
	for name, c := range map[string]struct {
		lister lister
		rules  int
		err    string // incomplete with this error
	}{
		"good":        {lister{resource: []authorizer.ResourceRuleInfo{good}}, 1, ""},
		"nil":         {lister{resource: []authorizer.ResourceRuleInfo{nil, good}}, 1, `authorizer "own" returned nil instead of a rule`},
		"nil pointer": {lister{nonResource: []authorizer.NonResourceRuleInfo{(*authorizer.DefaultNonResourceRuleInfo)(nil)}}, 0, `authorizer "own" returned nil instead of a rule`},
		"panics":      {lister{resource: []authorizer.ResourceRuleInfo{faultyRule{}}}, 0, `authorizer "own" panicked`},
	} {
		resource, nonResource, incomplete, err := guard(c.lister).RulesFor(t.Context(), jane.User, "default")
		if len(resource)+len(nonResource) != c.rules || incomplete != (c.err != "") || !strings.Contains(fmt.Sprint(err), c.err) {
			t.Errorf("%s: got %v, %v, %t, %v", name, resource, nonResource, incomplete, err)
		}
		for _, rule := range resource {
			if rule.GetVerbs()[0] != "get" || rule.GetResources()[0] != "pods" {
				t.Errorf("%s: got %+v", name, rule)
			}
		}
	}
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// TestPlaces has several authorizers before one, and one before another of the host's.
func TestPlaces(t *testing.T) {
	t.Parallel()
	chain := []string{"node", "rbac"}
	for _, h := range []Host{{Name: "last"}, {Name: "a", Before: "rbac"}, {Name: "b", Before: "rbac"}, {Name: "c", Before: "a"}, {Name: "first", Before: "node"}} {
		chain = place(chain, h)
	}
	if got, want := strings.Join(chain, " "), "first node c a b rbac last"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestHungWebhookIsNotTheHosts verifies that a webhook that does not answer leaves time
// for the authorizers after it.
func TestHungWebhookIsNotTheHosts(t *testing.T) {
	before := webhooksTimeout
	webhooksTimeout = time.Millisecond
	t.Cleanup(func() { webhooksTimeout = before })
	hung := own{authorize: func(ctx context.Context) (authorizer.Decision, string, error) {
		<-ctx.Done()
		return authorizer.DecisionDeny, "", ctx.Err()
	}}
	noOpinion := guard(own{authorize: func(context.Context) (authorizer.Decision, string, error) {
		return authorizer.DecisionNoOpinion, "", nil
	}})
	webhook := link{name: "hung", authorizer: hung}
	webhook.configured.Type = "Webhook"
	l := &links{chain: []link{webhook, {name: "own", field: "Authorizers[0]", authorizer: noOpinion}}}
	if err := l.check(t.Context(), Identities(nil), zap.NewNop()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the start was given up"))
	if err := l.check(ctx, Identities(nil), zap.NewNop()); err == nil || !strings.Contains(err.Error(), "the start was given up") {
		t.Errorf("got %v, want the cause", err)
	}
}

// TestIdentitiesOfComponents: each component has one identity.
func TestIdentitiesOfComponents(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	for _, i := range Identities([]string{"kube-scheduler", "cloud-controller"}) {
		count[i.User.GetName()]++
		for _, r := range i.Requests {
			if r.User.GetName() != i.User.GetName() || r.Verb == "" {
				t.Errorf("%s: got request %+v", i.Part, r)
			}
		}
	}
	if count["system:kube-scheduler"] != 1 || count["system:cloud-controller"] != 1 {
		t.Errorf("got %v, want one of each", count)
	}
}
