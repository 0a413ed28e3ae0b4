// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/join"
)

// Identity is a client that a control plane needs, with requests that stand for its work.
// In this process such clients are in group system:masters, which no authorizer can deny
// anything. As processes of their own, and on nodes, they are not.
type Identity struct {
	Part     string // what would not work without it
	User     user.Info
	Requests []authorizer.AttributesRecord
}

// nodeName is the node of the questions. It need not exist.
const nodeName = "kubembed-authorization-check"

// Identities returns the identities of a control plane with components of these names.
func Identities(components []string) []Identity {
	get := resource("", "namespaces", "", metav1.NamespaceSystem)
	scheduler := as("the scheduler", user.KubeScheduler,
		resource("", "pods", "", "").to("list"),
		resource("", "nodes", "", "").to("list"),
		resource("", "pods/binding", metav1.NamespaceDefault, "any").to("create"),
		lease("kube-scheduler"))
	all := []Identity{
		as("the API server", user.APIServerUser, get.to("get")),
		as("controllers", user.KubeControllerManager,
			resource("", "namespaces", "", "").to("list"),
			resource("", "serviceaccounts", metav1.NamespaceDefault, "").to("create"),
			resource("", "nodes/status", "", nodeName).to("update"),
			lease("kube-controller-manager")),
		scheduler,
		as("logs, exec and port-forward: kubelets ask the API server about its own requests", clientcert.KubeletClientUser,
			resource("", "nodes/proxy", "", nodeName).to("get"),
			resource("", "nodes/proxy", "", nodeName).to("create")),
		as("kubelets", "system:node:"+nodeName,
			resource("", "nodes", "", nodeName).to("get"),
			resource("", "nodes/status", "", nodeName).to("patch"),
			resource("", "services", "", "").to("list"),
			resource(coordinationv1.GroupName, "leases", corev1.NamespaceNodeLease, nodeName).to("update"),
			resource(certificatesv1.GroupName, "certificatesigningrequests", "", "").to("create"),
			resource(authenticationv1.GroupName, "tokenreviews", "", "").to("create"),
			resource(authorizationv1.GroupName, "subjectaccessreviews", "", "").to("create"),
		).in(user.NodesGroup),
		as("kubelets that join", bootstrapapi.BootstrapUserPrefix+"000000",
			resource(certificatesv1.GroupName, "certificatesigningrequests", "", "").to("create"),
			resource(certificatesv1.GroupName, "certificatesigningrequests", "", "any").to("get"),
		).in(bootstrapapi.BootstrapDefaultGroup, join.Group),
	}
	for _, name := range components {
		known := slices.ContainsFunc(all, func(i Identity) bool { return i.User.GetName() == "system:"+name })
		if !known {
			all = append(all, as("component "+name, "system:"+name, get.to("get"), lease(name)))
		}
	}
	return all
}

func as(part, name string, requests ...request) Identity {
	i := Identity{Part: part, User: &user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}}
	for _, r := range requests {
		r.User = i.User
		i.Requests = append(i.Requests, r.AttributesRecord)
	}
	return i
}

// in returns the identity as a member of groups.
func (i Identity) in(groups ...string) Identity {
	i.User = &user.DefaultInfo{Name: i.User.GetName(), Groups: append(groups, i.User.GetGroups()...)}
	for n := range i.Requests {
		i.Requests[n].User = i.User
	}
	return i
}

type request struct{ authorizer.AttributesRecord }

func resource(group, name, namespace, object string) request {
	name, sub, _ := strings.Cut(name, "/")
	return request{authorizer.AttributesRecord{
		ResourceRequest: true, APIGroup: group, APIVersion: "v1", Resource: name, Subresource: sub, Namespace: namespace, Name: object,
	}}
}

func (r request) to(verb string) request {
	r.Verb = verb
	return r
}

func lease(name string) request {
	return resource(coordinationv1.GroupName, "leases", metav1.NamespaceSystem, name).to("update")
}

// describe returns a request as a reader of RBAC knows it.
func describe(a authorizer.Attributes) string {
	text := a.GetVerb() + " " + a.GetResource()
	if sub := a.GetSubresource(); sub != "" {
		text += "/" + sub
	}
	if group := a.GetAPIGroup(); group != "" {
		text += "." + group
	}
	if name := a.GetName(); name != "" {
		text += fmt.Sprintf(" %q", name)
	}
	if namespace := a.GetNamespace(); namespace != "" {
		text += " in namespace " + namespace
	}
	return text
}

// hostTimeout bounds a question to an authorizer of the host.
const hostTimeout = 5 * time.Second

// webhooksTimeout bounds all questions to webhooks. One that has not answered then is
// left out. A variable for tests.
var webhooksTimeout = 5 * time.Second

// Check fails if an authorizer denies an identity of the control plane. It is for when
// RBAC is in force; changes of the configuration then have the same condition.
func (c *Chain) Check(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.current.Load().check(ctx, c.config.Identities, c.config.Logger); err != nil {
		return err
	}
	c.live.Store(true)
	return nil
}

// check asks the links about the identities. Only webhooks and authorizers of the host
// can deny.
func (l *links) check(parent context.Context, identities []Identity, logger *zap.Logger) error {
	if !slices.ContainsFunc(l.chain, link.denies) {
		return nil
	}
	group, ctx := errgroup.WithContext(parent)
	webhooks, cancel := context.WithTimeout(ctx, webhooksTimeout)
	defer cancel()
	unreachable := &failures{}
	group.SetLimit(16)
	for _, identity := range identities {
		for _, request := range identity.Requests {
			group.Go(func() error { return l.ask(ctx, webhooks, identity, request, unreachable) })
		}
	}
	err := group.Wait()
	switch {
	case parent.Err() != nil:
		return fieldpath.New("apiserver", "", "authorization: the questions about the control plane's identities: %w", context.Cause(parent))
	case err != nil:
		return err
	}
	for name, err := range unreachable.errs {
		logger.Warn("an authorizer gave no answer, so it is unknown whether it denies the control plane anything", zap.String("authorizer", name), zap.Error(err))
	}
	return nil
}

// denies reports whether a decision of the authorizer may be Deny: upstream's other
// authorizers only allow, or have no opinion.
func (l link) denies() bool { return l.isHost() || l.isWebhook() }

func (l link) isHost() bool { return l.configured.Type == "" }

func (l link) isWebhook() bool { return l.configured.Type == apiserverconfig.TypeWebhook }

// ask asks the links in their order. Errors of webhooks count as no opinion, whatever
// their failure policy: they may pass.
func (l *links) ask(ctx, webhooks context.Context, identity Identity, request authorizer.Attributes, unreachable *failures) error {
	for _, one := range l.chain {
		if unreachable.has(one.name) {
			continue
		}
		decision, reason, err := one.decide(ctx, webhooks, request)
		switch {
		case err != nil && one.isWebhook():
			unreachable.add(one.name, err)
			continue
		case decision == authorizer.DecisionAllow:
			return nil
		case decision != authorizer.DecisionDeny:
			continue
		}
		if err != nil {
			reason = strings.TrimSpace(reason + " " + err.Error())
		}
		if reason != "" {
			reason = " (" + reason + ")"
		}
		return fieldpath.New("apiserver", one.field, "authorizer %q denies user %s to %s%s, so this would not work: %s: allow it, or have no opinion about users and groups that begin with \"system:\"",
			one.name, identity.User.GetName(), describe(request), reason, identity.Part)
	}
	return nil
}

// decide asks an authorizer of the host for hostTimeout, and a webhook while webhooks
// lasts.
func (l link) decide(ctx, webhooks context.Context, request authorizer.Attributes) (authorizer.Decision, string, error) {
	if l.isWebhook() {
		return l.authorizer.Authorize(webhooks, request)
	}
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	return l.authorizer.Authorize(ctx, request)
}

// failures are the errors of authorizers by name.
type failures struct {
	mu   sync.Mutex
	errs map[string]error
}

func (f *failures) has(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs[name] != nil
}

func (f *failures) add(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.errs == nil {
		f.errs = map[string]error{}
	}
	if f.errs[name] == nil {
		f.errs[name] = err
	}
}
