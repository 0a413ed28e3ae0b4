package apiserver

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// paramsTimeout is how long admission gets to find the parameters of policies. Upstream
// looks again each second for a kind that it has not found.
const paramsTimeout = 3 * time.Second

// paramsSeenTimeout is how long the informers of custom resources that are parameters get to see a
// change. An informer whose objects cannot be converted never sees it.
const paramsSeenTimeout = 10 * time.Second

// withinParams calls wait with a context that ends after paramsSeenTimeout, which is no error.
func withinParams(ctx context.Context, wait func(limit context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, paramsSeenTimeout)
	defer cancel()
	err := wait(limit)
	if err != nil && limit.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// waitEnforced waits until requests are judged by the policies that have changed.
func (s *Server) waitEnforced(ctx context.Context, changed map[schema.GroupResource]latestChange) error {
	_, defined := changed[definitions]
	for _, plugin := range s.generic.policies {
		affected := plugin.affected(changed)
		if affected && plugin.hooks == nil {
			return fmt.Errorf("apiserver: %s: %w", plugin.policies.resource, errPolicyHooks)
		}
		if plugin.hooks == nil || !affected && !defined {
			continue
		}
		if affected {
			wanted := plugin.stored()
			if err := lifecycle.Poll(ctx, func() bool { return plugin.enforces(wanted) }); err != nil {
				return fmt.Errorf("apiserver: %s are not compiled: %w", plugin.policies.resource, err)
			}
		}
		limit, cancel := context.WithTimeout(ctx, paramsTimeout)
		_ = lifecycle.Poll(limit, func() bool { return s.knowsParams(plugin) })
		cancel()
	}
	return nil
}

// knowsParams reports whether a plugin has found the parameters of its policies, as far as
// their kinds are served.
func (s *Server) knowsParams(plugin *policyPlugin) bool {
	for _, hook := range plugin.hooks() {
		if hook.paramKind == nil || hook.err == nil && hook.params != nil && hook.params.HasSynced() {
			continue
		}
		builtin := scheme.Scheme.Recognizes(*hook.paramKind) && s.serves(hook.paramKind.GroupVersion())
		if _, custom := s.customResource(*hook.paramKind); custom || builtin {
			return false
		}
	}
	return true
}

// customResource returns the custom resource of a kind in a version that is served.
func (s *Server) customResource(kind schema.GroupVersionKind) (resource schema.GroupResource, ok bool) {
	crds, err := s.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister().List(labels.Everything())
	if err != nil {
		return schema.GroupResource{}, false
	}
	for _, crd := range crds {
		if crd.Spec.Group == kind.Group && crd.Status.AcceptedNames.Kind == kind.Kind && servedVersions(crd)[kind.Version] {
			return schema.GroupResource{Group: kind.Group, Resource: crd.Status.AcceptedNames.Plural}, true
		}
	}
	return schema.GroupResource{}, false
}

// waitParams waits until policies see the changes of parameters that are custom resources.
func (s *Server) waitParams(ctx context.Context, changes []access.StoredChange) error {
	// After the policies: one that is gone needs none, and one that is new has new informers.
	informers := s.paramInformers()
	prefixes := storedPrefixes{}
	for resource := range informers {
		prefixes[s.customPrefix(resource)] = resource
	}
	return withinParams(ctx, func(limit context.Context) error {
		_, err := waitSeen(limit, changes, prefixes, informers)
		return err
	})
}

// paramInformer is the informer of custom resources that are parameters. Admission stops it
// when no policy has such parameters.
type paramInformer struct{ cache.SharedIndexInformer }

// unneeded reports whether no policy needs an informer any more.
func unneeded(informer cache.SharedIndexInformer) bool {
	param, ok := informer.(paramInformer)
	return ok && param.IsStopped()
}

// paramInformers are those of custom resources that are parameters of policies.
// Informers of other parameters are among the server's own.
func (s *Server) paramInformers() map[schema.GroupResource][]cache.SharedIndexInformer {
	all := map[schema.GroupResource][]cache.SharedIndexInformer{}
	for _, plugin := range s.generic.policies {
		if plugin.hooks == nil {
			continue
		}
		seen := map[schema.GroupVersionKind]bool{} // Policies of a plugin share the informer of a kind.
		for _, hook := range plugin.hooks() {
			if hook.params == nil || seen[*hook.paramKind] || scheme.Scheme.Recognizes(*hook.paramKind) {
				continue
			}
			seen[*hook.paramKind] = true
			if resource, ok := s.customResource(*hook.paramKind); ok {
				all[resource] = append(all[resource], paramInformer{hook.params})
			}
		}
	}
	return all
}
