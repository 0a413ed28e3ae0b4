// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/nils"
)

// Host is an authorizer of the host's own.
type Host struct {
	Name       string
	Authorizer authorizer.Authorizer
	Before     string // the authorizer that it is asked before; if empty, it is asked last
}

// hostType is the type of the host's authorizers in upstream's metrics.
const hostType = "Go"

// validateHosts checks the host's authorizers. names are the others'. Without
// names it does not check the places.
func validateHosts(at *field.Path, names []string, hosts []Host) (errs field.ErrorList) {
	chain := slices.Clone(names)
	for i, h := range hosts {
		path := at.Index(i)
		switch invalid := utilvalidation.IsDNS1123Subdomain(h.Name); {
		case h.Name == "":
			errs = append(errs, field.Required(path.Child("Name"), "it is in metrics and messages"))
		case len(invalid) > 0:
			errs = append(errs, field.Invalid(path.Child("Name"), h.Name, strings.Join(invalid, ", ")))
		case slices.Contains(chain, h.Name):
			errs = append(errs, field.Duplicate(path.Child("Name"), h.Name))
		}
		if nils.Is(h.Authorizer) {
			errs = append(errs, field.Required(path.Child("Authorizer"), "the authorizer"))
		}
		if h.Before != "" && names != nil && !slices.Contains(chain, h.Before) {
			errs = append(errs, field.Invalid(path.Child("Before"), h.Before,
				fmt.Sprintf("no authorizer has this name: use one of %s, or leave it empty", strings.Join(chain, ", "))))
			continue
		}
		chain = place(chain, h)
	}
	return errs
}

// place returns the names of the chain with a host's authorizer at its place. Of several
// before the same authorizer, the first is asked first.
func place(chain []string, h Host) []string {
	at := slices.Index(chain, h.Before)
	if h.Before == "" || at < 0 {
		at = len(chain)
	}
	return slices.Insert(slices.Clone(chain), at, h.Name)
}

// guarded is an authorizer of the host's own in a server. A panic in it fails the
// request, and the request does not wait for it longer than until shortly before its
// deadline. It implements authorizer.Authorizer and authorizer.RuleResolver.
type guarded struct {
	name    string
	host    authorizer.Authorizer
	timeout time.Duration // of requests without a deadline
	logger  *zap.Logger
	calls   *hostcall.Calls
}

func newGuarded(h Host, timeout time.Duration, logger *zap.Logger) guarded {
	return guarded{name: h.Name, host: h.Authorizer, timeout: timeout, logger: logger, calls: &hostcall.Calls{}}
}

// decision is what Authorize returns.
type decision struct {
	authorizer.Decision
	reason string
	err    error
}

// denied is the decision of an authorizer that fails: the next one must not be asked. See
// Chain.failed.
func denied(failure *hostcall.Failure) decision {
	return decision{authorizer.DecisionDeny, "", failure}
}

// Authorize implements authorizer.Authorizer.
func (g guarded) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	d := call(ctx, g, denied, func(ctx context.Context) (d decision) {
		d.Decision, d.reason, d.err = g.host.Authorize(ctx, a)
		d.err = g.named(d.err)
		return d
	})
	return d.Decision, d.reason, d.err
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (g guarded) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return call(ctx, g, func(failure *hostcall.Failure) authorizer.ConditionsAwareDecision {
		return authorizer.ConditionsAwareDecisionDeny("", failure)
	}, func(ctx context.Context) authorizer.ConditionsAwareDecision {
		d := g.host.ConditionsAwareAuthorize(ctx, a)
		if err := d.Error(); err != nil && d.IsUnconditional() {
			return authorizer.ConditionsAwareDecisionFromParts(unconditional(d), d.Reason(), g.named(err))
		}
		return d
	})
}

// EvaluateConditions implements authorizer.Authorizer.
func (g guarded) EvaluateConditions(ctx context.Context, unevaluated authorizer.ConditionsAwareDecision, data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	d := call(ctx, g, denied, func(ctx context.Context) (d decision) {
		d.Decision, d.reason, d.err = g.host.EvaluateConditions(ctx, unevaluated, data)
		d.err = g.named(d.err)
		return d
	})
	return d.Decision, d.reason, d.err
}

// rules is what RulesFor returns.
type rules struct {
	resource    []authorizer.ResourceRuleInfo
	nonResource []authorizer.NonResourceRuleInfo
	incomplete  bool
	err         error
}

// RulesFor implements authorizer.RuleResolver. The rules of an authorizer that does not
// list them are incomplete, as a webhook's are.
func (g guarded) RulesFor(ctx context.Context, info user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	resolver, ok := g.host.(authorizer.RuleResolver)
	if !ok {
		return nil, nil, true, fmt.Errorf("%s does not list its rules", g.code())
	}
	r := call(ctx, g, func(failure *hostcall.Failure) rules { return rules{incomplete: true, err: failure} }, func(ctx context.Context) (r rules) {
		resource, nonResource, incomplete, err := resolver.RulesFor(ctx, info, namespace)
		r = rules{incomplete: incomplete, err: g.named(err)}
		return r.copy(g, resource, nonResource)
	})
	return r.resource, r.nonResource, r.incomplete, r.err
}

// copy adds rules without code of the host, which would panic in upstream's handler. A
// list with nil instead of a rule is incomplete.
func (r rules) copy(g guarded, resource []authorizer.ResourceRuleInfo, nonResource []authorizer.NonResourceRuleInfo) rules {
	missing := false
	for _, rule := range resource {
		if nils.Is(rule) {
			missing = true
			continue
		}
		r.resource = append(r.resource, &authorizer.DefaultResourceRuleInfo{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames(),
		})
	}
	for _, rule := range nonResource {
		if nils.Is(rule) {
			missing = true
			continue
		}
		r.nonResource = append(r.nonResource, &authorizer.DefaultNonResourceRuleInfo{
			Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs(),
		})
	}
	if missing {
		r.incomplete = true
		r.err = errors.Join(r.err, fmt.Errorf("%s returned nil instead of a rule", g.code()))
	}
	return r
}

// call calls f, which calls the host. failed returns the result of a call that fails.
func call[T any](ctx context.Context, g guarded, failed func(*hostcall.Failure) T, f func(context.Context) T) T {
	result, failure := hostcall.Within(ctx, hostcall.Code{Name: g.code(), Timeout: g.timeout, Logger: g.logger, Calls: g.calls}, f)
	if failure != nil {
		return failed(failure)
	}
	return result
}

// code names the authorizer in failures.
func (g guarded) code() string { return fmt.Sprintf("authorizer %q", g.name) }

// named adds the authorizer to an error of the host's, which clients get.
func (g guarded) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", g.code(), err)
}

func unconditional(d authorizer.ConditionsAwareDecision) authorizer.Decision {
	switch {
	case d.IsAllow():
		return authorizer.DecisionAllow
	case d.IsDeny():
		return authorizer.DecisionDeny
	}
	return authorizer.DecisionNoOpinion
}
