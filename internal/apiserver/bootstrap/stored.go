// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/rbac"

	"github.com/kubembed/kubembed/internal/storage"
)

// existingObjects is the part of the stored data on which Seed depends.
type existingObjects struct {
	rbac        bool            // a ClusterRole or ClusterRoleBinding exists
	terminating map[string]bool // system namespaces in which nothing can be created
}

// excludes reports whether Seed must not create an object.
func (e existingObjects) excludes(o object) bool {
	if o.kind.resource.Group == rbac.GroupName {
		return e.rbac
	}
	if len(e.terminating) == 0 || !o.kind.strategy.NamespaceScoped() {
		return false
	}
	accessor, err := meta.Accessor(o.v1)
	return err == nil && e.terminating[accessor.GetNamespace()]
}

// findExisting takes one read of etcd if there is no data yet.
func findExisting(ctx context.Context, backend *storage.Backend, controllers bool) (existing existingObjects, err error) {
	var ranges []clientv3.Op
	for _, resource := range []schema.GroupResource{rbac.Resource("clusterroles"), rbac.Resource("clusterrolebindings")} {
		if _, err := backend.Store(resource); err != nil {
			continue // switched off by Config.RuntimeConfig
		}
		ranges = append(ranges, clientv3.OpGet(backend.Keyspace().ResourcePrefix(resource),
			clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly()))
	}
	if len(ranges) > 0 {
		found, err := backend.Client().Txn(ctx).Then(ranges...).Commit()
		if err != nil {
			return existing, fmt.Errorf("apiserver: bootstrap roles: %w", err)
		}
		for _, r := range found.Responses {
			existing.rbac = existing.rbac || len(r.GetResponseRange().Kvs) > 0
		}
	}
	if !existing.rbac && len(ranges) > 0 || !controllers {
		return existing, nil
	}
	existing.terminating, err = terminatingNamespaces(ctx, backend)
	return existing, err
}

// terminatingNamespaces returns the system namespaces that are being deleted. Upstream's
// controllers create their objects by requests, which fail there.
func terminatingNamespaces(ctx context.Context, backend *storage.Backend) (map[string]bool, error) {
	store, err := backend.Store(namespaceKind.resource)
	if err != nil {
		return nil, nil //nolint:nilerr // switched off by Config.RuntimeConfig
	}
	terminating := map[string]bool{}
	for _, name := range SystemNamespaces {
		var ns core.Namespace
		if err := store.Get(ctx, store.Key("", name), apistorage.GetOptions{IgnoreNotFound: true}, &ns); err != nil {
			return nil, fmt.Errorf("apiserver: bootstrap namespace %s: %w", name, err)
		}
		if ns.DeletionTimestamp != nil {
			terminating[name] = true
		}
	}
	return terminating, nil
}
