package apiserver

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/api/meta"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/rbac"
)

// storedBefore is what seed has to know of the data that a start finds.
type storedBefore struct {
	rbac        bool            // there are cluster roles or bindings of them
	terminating map[string]bool // system namespaces in which nothing can be created
}

// leaves reports whether seed leaves an object to others.
func (b storedBefore) leaves(o bootstrapObject) bool {
	if o.kind.resource.Group == rbac.GroupName {
		return b.rbac
	}
	if len(b.terminating) == 0 || !o.kind.strategy.NamespaceScoped() {
		return false
	}
	accessor, err := meta.Accessor(o.object)
	return err == nil && b.terminating[accessor.GetNamespace()]
}

// lookBefore takes one read of etcd where there is no data yet.
func (s *Server) lookBefore(ctx context.Context) (stored storedBefore, err error) {
	var ranges []clientv3.Op
	for _, resource := range []string{"clusterroles", "clusterrolebindings"} {
		if _, err := s.backend.Store(rbac.Resource(resource)); err != nil {
			continue // switched off by Config.RuntimeConfig
		}
		ranges = append(ranges, clientv3.OpGet(s.backend.Keyspace().ResourcePrefix(rbac.Resource(resource)),
			clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly()))
	}
	if len(ranges) > 0 {
		found, err := s.backend.Client().Txn(ctx).Then(ranges...).Commit()
		if err != nil {
			return stored, fmt.Errorf("apiserver: bootstrap roles: %w", err)
		}
		for _, r := range found.Responses {
			stored.rbac = stored.rbac || len(r.GetResponseRange().Kvs) > 0
		}
	}
	if !stored.rbac && len(ranges) > 0 || !s.config.Controllers {
		return stored, nil
	}
	err = s.lookForTerminating(ctx, &stored) // before stored is returned: Go may evaluate both in either order
	return stored, err
}

// lookForTerminating finds the system namespaces that are being deleted. Upstream's
// controllers create their objects by requests, which are refused there.
func (s *Server) lookForTerminating(ctx context.Context, stored *storedBefore) error {
	store, err := s.backend.Store(namespaceKind.resource)
	if err != nil {
		return nil //nolint:nilerr // switched off by Config.RuntimeConfig
	}
	for _, name := range systemNamespaces {
		var ns core.Namespace
		if err := store.Get(ctx, store.Key("", name), apistorage.GetOptions{IgnoreNotFound: true}, &ns); err != nil {
			return fmt.Errorf("apiserver: bootstrap namespace %s: %w", name, err)
		}
		if ns.DeletionTimestamp != nil {
			if stored.terminating == nil {
				stored.terminating = map[string]bool{}
			}
			stored.terminating[name] = true
		}
	}
	return nil
}
