// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/keyspace"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// paramsTimeout bounds the wait until admission has found the parameters of policies.
// Upstream retries each second for a kind that it has not found.
const paramsTimeout = 3 * time.Second

// paramsSeenTimeout bounds the wait until the informers of parameters that are custom
// resources have seen a change. An informer whose objects cannot be converted never sees
// it.
const paramsSeenTimeout = 10 * time.Second

// withinParams calls wait with a context that ends after paramsSeenTimeout. That this
// time passes is not an error.
func withinParams(ctx context.Context, wait func(limit context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, paramsSeenTimeout)
	defer cancel()
	err := wait(limit)
	if err != nil && limit.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// waitEnforced waits until requests are admitted by the policies that have changed.
func (w Waiter) waitEnforced(ctx context.Context, changed map[schema.GroupResource]latestChange) error {
	_, crdsChanged := changed[crd.Resource]
	for _, plugin := range w.Policies {
		affected := plugin.affected(changed)
		if affected && plugin.hooks == nil {
			return fmt.Errorf("apiserver: %s: %w", plugin.policies.resource, errPolicyHooks)
		}
		if plugin.hooks == nil || !affected && !crdsChanged {
			continue
		}
		if affected {
			wanted := plugin.stored()
			if err := lifecycle.Poll(ctx, func() bool { return plugin.enforces(wanted) }); err != nil {
				return fmt.Errorf("apiserver: %s are not compiled: %w", plugin.policies.resource, err)
			}
		}
		limit, cancel := context.WithTimeout(ctx, paramsTimeout)
		_ = lifecycle.Poll(limit, func() bool { return w.knowsParams(plugin) })
		cancel()
	}
	return nil
}

// KnowsParams reports whether admission has found the parameters of all policies whose
// parameter kinds are served.
func (w Waiter) KnowsParams() bool {
	return !slices.ContainsFunc(w.Policies, func(p *policyPlugin) bool { return !w.knowsParams(p) })
}

// knowsParams reports whether a plugin has found the parameters of its policies whose
// parameter kinds are served.
func (w Waiter) knowsParams(plugin *policyPlugin) bool {
	for _, hook := range plugin.hooks() {
		if hook.paramKind == nil || hook.err == nil && hook.params != nil && hook.params.HasSynced() {
			continue
		}
		builtin := scheme.Scheme.Recognizes(*hook.paramKind) && w.Serves(hook.paramKind.GroupVersion())
		if _, custom := crd.ResourceOfKind(w.crds(), *hook.paramKind); custom || builtin {
			return false
		}
	}
	return true
}

// waitParams waits until policies see the changes of parameters that are custom
// resources.
func (w Waiter) waitParams(ctx context.Context, changes []access.StoredChange) error {
	// After the wait for policies: a deleted policy needs no informer, and a new one has
	// new informers.
	informers := w.paramInformers()
	keys := keyspace.Index{}
	for resource := range informers {
		keys[w.Keys.CustomResourcePrefix(resource)] = resource
	}
	return withinParams(ctx, func(limit context.Context) error {
		_, err := waitSeen(limit, changes, keys, informers)
		return err
	})
}

// paramInformer is the informer of a custom resource whose objects are parameters.
// Admission stops it when no policy has such parameters.
type paramInformer struct{ cache.SharedIndexInformer }

// unneeded reports whether no policy needs an informer.
func unneeded(informer cache.SharedIndexInformer) bool {
	param, ok := informer.(paramInformer)
	return ok && param.IsStopped()
}

// paramInformers returns the informers of custom resources whose objects are parameters
// of policies. Informers of other parameters are among the server's own.
func (w Waiter) paramInformers() map[schema.GroupResource][]cache.SharedIndexInformer {
	all := map[schema.GroupResource][]cache.SharedIndexInformer{}
	for _, plugin := range w.Policies {
		if plugin.hooks == nil {
			continue
		}
		seen := map[schema.GroupVersionKind]bool{} // policies of a plugin share the informer of a kind
		for _, hook := range plugin.hooks() {
			if hook.params == nil || seen[*hook.paramKind] || scheme.Scheme.Recognizes(*hook.paramKind) {
				continue
			}
			seen[*hook.paramKind] = true
			if resource, ok := crd.ResourceOfKind(w.crds(), *hook.paramKind); ok {
				all[resource] = append(all[resource], paramInformer{hook.params})
			}
		}
	}
	return all
}
