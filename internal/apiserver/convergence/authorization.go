// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"context"
	"slices"
	"strconv"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/informers/certificates"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
)

// Authorizer returns an authorizer that waits for acknowledged roles and bindings, and
// then decides as delegate.
func (a *Writes) Authorizer(delegate authorizer.Authorizer) authorizer.Authorizer {
	return currentAuthorizer{delegate, a, a.of(rbacSources)}
}

// RuleResolver returns a resolver that waits as Authorizer does, and then answers as
// delegate.
func (a *Writes) RuleResolver(delegate authorizer.RuleResolver) authorizer.RuleResolver {
	return currentRules{delegate, a, a.of(rbacSources)}
}

// currentAuthorizer decides by all roles and bindings that were acknowledged before the
// request, for grants and revocations alike. If it refuses a node, it decides again when
// the Node authorizer has seen the acknowledged pods. Waiting for each pod would delay
// the requests of all nodes.
type currentAuthorizer struct {
	// Authorizer is not embedded: a method of a later version of the interface would not
	// wait.
	Authorizer authorizer.Authorizer
	writes     *Writes
	rbac       []*source
}

func (c currentAuthorizer) Authorize(ctx context.Context, a authorizer.Attributes) (decision authorizer.Decision, reason string, err error) {
	c.decide(ctx, a, func() (allowed bool) {
		decision, reason, err = c.Authorizer.Authorize(ctx, a)
		return decision == authorizer.DecisionAllow
	})
	return decision, reason, err
}

func (c currentAuthorizer) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) (decision authorizer.ConditionsAwareDecision) {
	c.decide(ctx, a, func() (allowed bool) {
		decision = c.Authorizer.ConditionsAwareAuthorize(ctx, a)
		return decision.IsAllow()
	})
	return decision
}

// EvaluateConditions does not wait: it completes a decision that has waited.
func (c currentAuthorizer) EvaluateConditions(ctx context.Context, unevaluated authorizer.ConditionsAwareDecision, data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return c.Authorizer.EvaluateConditions(ctx, unevaluated, data)
}

// decide waits, and calls once for a decision, or twice.
func (c currentAuthorizer) decide(ctx context.Context, a authorizer.Attributes, once func() (allowed bool)) {
	info := a.GetUser()
	if info == nil || slices.Contains(info.GetGroups(), user.SystemPrivilegedGroup) {
		once()
		return
	}
	c.writes.wait(ctx, c.rbac)
	if !once() && slices.Contains(info.GetGroups(), user.NodesGroup) && c.writes.wait(ctx, c.writes.graph) {
		once()
	}
}

// currentRules resolves the rules of SelfSubjectRulesReviews.
type currentRules struct {
	authorizer.RuleResolver
	writes *Writes
	rbac   []*source
}

func (c currentRules) RulesFor(ctx context.Context, info user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	c.writes.wait(ctx, c.rbac)
	return c.RuleResolver.RulesFor(ctx, info, namespace)
}

// graphRevision is the newest revision of a resource that the Node authorizer's graph has
// seen.
type graphRevision struct {
	handlers atomic.Int32
	seen     atomic.Uint64
}

// GraphInformers returns informers that record what the Node authorizer's graph has seen.
// They are for the Node authorizer only.
func (a *Writes) GraphInformers(informers clientgoinformers.SharedInformerFactory) clientgoinformers.SharedInformerFactory {
	return graphFactory{informers, a}
}

type graphFactory struct {
	clientgoinformers.SharedInformerFactory
	writes *Writes
}

func (f graphFactory) Core() core.Interface { return core.New(f, metav1.NamespaceAll, nil) }
func (f graphFactory) Storage() storage.Interface {
	return storage.New(f, metav1.NamespaceAll, nil)
}
func (f graphFactory) Resource() resource.Interface { return resource.New(f, metav1.NamespaceAll, nil) }
func (f graphFactory) Certificates() certificates.Interface {
	return certificates.New(f, metav1.NamespaceAll, nil)
}

func (f graphFactory) InformerFor(object runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	informer := f.SharedInformerFactory.InformerFor(object, newFunc)
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		return informer
	}
	resource, _ := meta.UnsafeGuessKindToResource(kinds[0])
	if s := f.writes.sources[schema.GroupResource{Group: resource.Group, Resource: resource.Resource}]; s != nil && s.graph != nil {
		return graphInformer{informer, s.graph}
	}
	return informer
}

type graphInformer struct {
	cache.SharedIndexInformer
	revision *graphRevision
}

func (i graphInformer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	i.revision.handlers.Add(1)
	return i.SharedIndexInformer.AddEventHandler(graphHandler{handler, i.revision})
}

// graphHandler records the newest revision that the graph has seen.
type graphHandler struct {
	handler  cache.ResourceEventHandler
	revision *graphRevision
}

func (h graphHandler) OnAdd(object any, initial bool) {
	h.handler.OnAdd(object, initial)
	h.record(object)
}

func (h graphHandler) OnUpdate(before, after any) {
	h.handler.OnUpdate(before, after)
	h.record(after)
}

func (h graphHandler) OnDelete(object any) {
	h.handler.OnDelete(object)
	h.record(object)
}

func (h graphHandler) record(object any) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return // a tombstone: deleted while the informer had no watch
	}
	if revision, err := strconv.ParseUint(accessor.GetResourceVersion(), 10, 64); err == nil {
		raise(&h.revision.seen, revision)
	}
}
