// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/util/sets"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authorizationmetrics "k8s.io/apiserver/pkg/authorization/metrics"
	"k8s.io/apiserver/pkg/authorization/union"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/util/connrotation"
	kubeauthorizer "k8s.io/kubernetes/pkg/kubeapiserver/authorizer"

	"github.com/kubembed/kubembed/internal/apiserver/kubeconfig"
	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/hostcall"
)

// privilegedName is upstream's name of the authorizer that always comes first.
const privilegedName = "kubernetes.io/system-privileged-group"

// Chain asks the authorizers in their order. It implements authorizer.Authorizer and
// authorizer.RuleResolver, and is safe for concurrent use.
type Chain struct {
	config Config
	dialer *connrotation.Dialer // to webhooks
	hosts  map[string]link
	// required are the types that every later configuration must have.
	required sets.Set[apiserverconfig.AuthorizerType]
	current  atomic.Pointer[links]
	live     atomic.Bool // the informers have what RBAC needs

	mu     sync.Mutex // serializes changes
	data   []byte     // of Source.File or of a Go value, in force
	read   []byte     // of Source.File: in force, or never valid
	policy []byte     // of Source.PolicyFile: in force, or never valid
}

// links are the authorizers of a configuration.
type links struct {
	authorizer.Authorizer
	rules  authorizer.RuleResolver
	chain  []link
	loaded *loaded
}

// link is an authorizer in the chain.
type link struct {
	name string
	// field is the place of its configuration, for errors.
	field      string
	configured apiserverconfig.AuthorizerConfiguration // zero for the host's
	authorizer authorizer.Authorizer
	rules      authorizer.RuleResolver
}

// New returns the chain of a configuration. Run follows its files.
func New(c Config) (*Chain, error) {
	l, errs := c.load(nil)
	if err := firstError(errs); err != nil {
		return nil, err
	}
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	chain := &Chain{config: c, dialer: connrotation.NewDialer(dial), hosts: map[string]link{}, required: l.types(), data: l.data, read: l.data, policy: l.policy}
	for i, h := range c.Hosts {
		g := newGuarded(h, c.RequestTimeout, c.Logger)
		chain.hosts[h.Name] = link{
			name: h.Name, field: fmt.Sprintf("Config.Authorization.Authorizers[%d]", i),
			authorizer: authorizationmetrics.InstrumentedAuthorizer(hostType, h.Name, g), rules: g,
		}
	}
	next, err := chain.build(l, nil)
	if err != nil {
		return nil, err
	}
	chain.current.Store(next)
	return chain, nil
}

// build returns the links of a configuration. It keeps the links of old that have
// not changed.
func (c *Chain) build(l *loaded, old *links) (*links, error) {
	if c.config.NoAlwaysAllow && l.types().Has(typeAlwaysAllow) {
		return nil, fieldpath.New("apiserver", "Config.Authentication.Anonymous", "it accepts clients without credentials, which authorizer type AlwaysAllow would make administrators: restart with Enabled false, or leave out that type")
	}
	names := l.names()
	if err := firstError(validateHosts(authorizersField, names, c.config.Hosts)); err != nil {
		return nil, err
	}
	for _, h := range c.config.Hosts {
		names = place(names, h)
	}
	next := &links{loaded: l}
	for _, name := range names {
		made, ok := c.hosts[name]
		if !ok {
			configured := l.Authorizers[slices.Index(l.names(), name)]
			if configured.Type == typeRBAC && !c.config.servesRBAC() {
				continue
			}
			var err error
			if made, err = c.link(configured, l, old); err != nil {
				return nil, err
			}
		}
		next.chain = append(next.chain, made)
	}
	return next, next.join()
}

// join sets the authorizer and the resolver of all links.
func (l *links) join() (err error) {
	all := []union.NamedAuthorizer{{AuthorizerName: privilegedName, Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)}}
	var rules []authorizer.RuleResolver
	for _, one := range l.chain {
		all = append(all, union.NamedAuthorizer{AuthorizerName: one.name, Authorizer: one.authorizer})
		rules = append(rules, one.rules)
	}
	l.rules = union.NewRuleResolvers(rules...)
	l.Authorizer, err = union.New(all...)
	return err
}

// link returns an authorizer of upstream. Authorizers of the server exist once. Webhooks
// with the same configuration keep their caches.
func (c *Chain) link(configured apiserverconfig.AuthorizerConfiguration, l *loaded, old *links) (link, error) {
	if old != nil {
		for _, one := range old.chain {
			if reflect.DeepEqual(one.configured, configured) && old.loaded.webhooks[one.name] == l.webhooks[one.name] {
				return one, nil
			}
		}
		switch configured.Type {
		case typeNode, typeRBAC, typeABAC:
			// As upstream: it needs what only a start makes.
			return link{}, fieldpath.New("apiserver", "", "authorizer type %s is not allowed if it was not enabled at the start of the server", configured.Type)
		}
	}
	return c.upstream(configured)
}

// upstream has upstream make a chain of the authorizer alone. A panic is an error: a
// reload must not end the host.
func (c *Chain) upstream(configured apiserverconfig.AuthorizerConfiguration) (link, error) {
	made, err := containment.Call(fmt.Sprintf("authorizer %q", configured.Name), func() (link, error) {
		loads := *configured.DeepCopy()
		if loads.Webhook != nil && loads.Webhook.ConnectionInfo.KubeConfigFile != nil {
			file, err := kubeconfig.WithoutFiles(*loads.Webhook.ConnectionInfo.KubeConfigFile, c.config.Dir)
			if err != nil {
				return link{}, err
			}
			loads.Webhook.ConnectionInfo.KubeConfigFile = &file
		}
		alone, rules, err := kubeauthorizer.Config{
			PolicyFile:                 c.config.PolicyFile,
			WebhookRetryBackoff:        genericoptions.DefaultAuthWebhookRetryBackoff(),
			VersionedInformerFactory:   c.config.Informers,
			CustomDial:                 c.dialer.DialContext,
			AuthorizationConfiguration: &apiserverconfig.AuthorizationConfiguration{Authorizers: []apiserverconfig.AuthorizerConfiguration{loads}},
		}.New(context.Background(), c.config.ServerID)
		return link{name: configured.Name, field: c.config.field(), configured: configured, authorizer: lone{alone, configured.Name}, rules: rules}, err
	})
	if err != nil {
		return link{}, fieldpath.New("apiserver", c.config.field(), "authorizer %q: %w", configured.Name, err)
	}
	return made, nil
}

// field returns the field that has the chain of upstream's authorizers.
func (s Source) field() string {
	switch {
	case s.Configuration != nil:
		return "Config.Authorization.Configuration"
	case s.File != "":
		return "Config.Authorization.ConfigurationFile"
	}
	return "Config.Authorization.Modes"
}

// lone is upstream's chain of one authorizer. The union of all adds the name of the
// authorizer to a reason where the authorizer has no opinion, and so does this
// one.
type lone struct {
	authorizer.Authorizer
	name string
}

func (s lone) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	decision, reason, err := s.Authorizer.Authorize(ctx, a)
	if decision == authorizer.DecisionNoOpinion {
		reason = strings.TrimPrefix(reason, s.name+": ")
	}
	return decision, reason, err
}

// Authorize implements authorizer.Authorizer.
func (c *Chain) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if failure := hostcall.Failed(ctx); failure != nil { // upstream tries several kinds of impersonation
		return authorizer.DecisionNoOpinion, "", failure
	}
	return c.failed(ctx)(c.current.Load().Authorize(ctx, a))
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (c *Chain) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	decision := c.current.Load().ConditionsAwareAuthorize(ctx, a)
	if decision.IsDeny() {
		return authorizer.ConditionsAwareDecisionFromParts(c.failed(ctx)(authorizer.DecisionDeny, decision.Reason(), decision.Error()))
	}
	return decision
}

// EvaluateConditions implements authorizer.Authorizer.
func (c *Chain) EvaluateConditions(ctx context.Context, unevaluated authorizer.ConditionsAwareDecision, data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return c.failed(ctx)(c.current.Load().EvaluateConditions(ctx, unevaluated, data))
}

// failed returns a function for decisions of the chain. A failure of an authorizer of the
// host is no denial: the request fails with it, and a SubjectAccessReview has it as its
// evaluationError.
func (*Chain) failed(ctx context.Context) func(authorizer.Decision, string, error) (authorizer.Decision, string, error) {
	return func(decision authorizer.Decision, reason string, err error) (authorizer.Decision, string, error) {
		if failure, ok := errors.AsType[*hostcall.Failure](err); ok && decision == authorizer.DecisionDeny {
			hostcall.NoteFailure(ctx, failure)
			return authorizer.DecisionNoOpinion, "", failure
		}
		return decision, reason, err
	}
}

// RulesFor implements authorizer.RuleResolver.
func (c *Chain) RulesFor(ctx context.Context, info user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return c.current.Load().rules.RulesFor(ctx, info, namespace)
}

// Close closes the connections to webhooks.
func (c *Chain) Close() { c.dialer.CloseAll() }
