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

// Authorizer returns an authorizer that waits for acknowledged roles and bindings, and decides as delegate.
// delegate gives no conditional decisions: a request for one gets the decision of Authorize.
func (a *Writes) Authorizer(delegate authorizer.UnconditionalAuthorizer) authorizer.Authorizer {
	return authorizer.AuthorizerFunc(currentAuthorizer{delegate, a, a.of(rbacSources)}.Authorize)
}

// RuleResolver returns a resolver that waits as Authorizer does, and answers as delegate.
func (a *Writes) RuleResolver(delegate authorizer.RuleResolver) authorizer.RuleResolver {
	return currentRules{delegate, a, a.of(rbacSources)}
}

// currentAuthorizer decides by all roles and bindings that were acknowledged before,
// grants and revocations alike. If a node is refused, it decides again once the Node
// authorizer has seen the acknowledged pods: to wait for each pod would hold up the
// requests of all nodes.
type currentAuthorizer struct {
	Authorizer authorizer.UnconditionalAuthorizer // not embedded: of its methods, those that skip Authorize would not wait
	writes     *Writes
	rbac       []*source
}

func (c currentAuthorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	who := a.GetUser()
	if who == nil || slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup) {
		return c.Authorizer.Authorize(ctx, a)
	}
	c.writes.wait(ctx, c.rbac)
	decision, reason, err := c.Authorizer.Authorize(ctx, a)
	if decision != authorizer.DecisionAllow && slices.Contains(who.GetGroups(), user.NodesGroup) && c.writes.wait(ctx, c.writes.graph) {
		return c.Authorizer.Authorize(ctx, a)
	}
	return decision, reason, err
}

// currentRules are the rules of SelfSubjectRulesReviews.
type currentRules struct {
	authorizer.RuleResolver
	writes *Writes
	rbac   []*source
}

func (c currentRules) RulesFor(ctx context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	c.writes.wait(ctx, c.rbac)
	return c.RuleResolver.RulesFor(ctx, who, namespace)
}

// graphRevision is how far the Node authorizer's graph has seen a resource.
type graphRevision struct {
	handlers atomic.Int32
	last     atomic.Uint64
}

// GraphInformers are for the Node authorizer alone.
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
	h.note(object)
}

func (h graphHandler) OnUpdate(before, after any) {
	h.handler.OnUpdate(before, after)
	h.note(after)
}

func (h graphHandler) OnDelete(object any) {
	h.handler.OnDelete(object)
	h.note(object)
}

func (h graphHandler) note(object any) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return // deleted while the informer had no watch
	}
	if revision, err := strconv.ParseUint(accessor.GetResourceVersion(), 10, 64); err == nil {
		raise(&h.revision.last, revision)
	}
}
