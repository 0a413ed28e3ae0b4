package apiserver

import (
	"context"
	"fmt"
	"path"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	apistorage "k8s.io/apiserver/pkg/storage"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"

	"github.com/kubembed/kubembed/internal/keyspace"
)

const (
	// masterLeaseTTL is how long the key of a server that is gone stays. Another
	// looks up to ten seconds later. It is upstream's.
	masterLeaseTTL = 15 * time.Second
	// masterLeaseTimeout bounds what upstream does not: an etcd that is away must
	// not hold up a stop.
	masterLeaseTimeout = 5 * time.Second
	// masterLeasePrefix is upstream's. The storage adds Config.Prefix.
	masterLeasePrefix = "/" + keyspace.MasterLeasesPath
)

// leaseReconciler is createLeaseReconciler of k8s.io/kubernetes/pkg/controlplane:
// each server keeps a key in etcd that expires without it, and writes all that
// there are into the endpoints of the kubernetes Service.
func (g *generic) leaseReconciler() (reconcilers.EndpointReconciler, error) {
	config, err := g.factory.NewConfig(core.Resource("apiServerIPInfo"), &core.Endpoints{})
	if err != nil {
		return nil, fmt.Errorf("apiserver: leases of API servers: %w", err)
	}
	store, destroy, err := g.backend.Uncached(config, masterLeasePrefix)
	if err != nil {
		return nil, fmt.Errorf("apiserver: leases of API servers: %w", err)
	}
	return reconcilers.NewLeaseEndpointReconciler(
		reconcilers.NewEndpointsAdapter(corev1client.NewForConfigOrDie(g.loopback), discoveryv1client.NewForConfigOrDie(g.loopback)),
		&masterLeases{ctx: g.ctx, store: store, destroy: destroy}), nil
}

// masterLeases is what reconcilers.NewLeases makes, over the shared client. Upstream's
// dials etcd, and prints it when that is away.
type masterLeases struct {
	ctx     context.Context
	store   apistorage.Interface
	destroy func()
}

func (l *masterLeases) call(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(l.ctx, masterLeaseTimeout)
	defer cancel()
	return f(ctx)
}

// ListLeases returns the addresses of all servers that are alive.
func (l *masterLeases) ListLeases() (addresses []string, err error) {
	var all core.EndpointsList
	err = l.call(func(ctx context.Context) error {
		return l.store.GetList(ctx, masterLeasePrefix, apistorage.ListOptions{Predicate: apistorage.Everything, Recursive: true}, &all)
	})
	for i := range all.Items {
		if subsets := all.Items[i].Subsets; len(subsets) > 0 && len(subsets[0].Addresses) > 0 {
			addresses = append(addresses, subsets[0].Addresses[0].IP)
		}
	}
	return addresses, err
}

// UpdateLease says that the server at ip is alive.
func (l *masterLeases) UpdateLease(ip string) error {
	return l.call(func(ctx context.Context) error {
		return l.store.GuaranteedUpdate(ctx, path.Join(masterLeasePrefix, ip), &core.Endpoints{}, true, nil,
			func(object runtime.Object, _ apistorage.ResponseMeta) (runtime.Object, *uint64, error) {
				lease, ok := object.(*core.Endpoints)
				if !ok {
					return nil, nil, fmt.Errorf("lease of an API server is a %T", object)
				}
				lease.Subsets = []core.EndpointSubset{{Addresses: []core.EndpointAddress{{IP: ip}}}}
				// What does not change is not written, and would expire.
				lease.Generation++
				ttl := uint64(masterLeaseTTL / time.Second)
				return lease, &ttl, nil
			}, nil)
	})
}

// RemoveLease says that the server at ip is gone.
func (l *masterLeases) RemoveLease(ip string) error {
	return l.call(func(ctx context.Context) error {
		return l.store.Delete(ctx, path.Join(masterLeasePrefix, ip), &core.Endpoints{}, nil, rest.ValidateAllObjectFunc, nil, apistorage.DeleteOptions{})
	})
}

// Destroy releases the storage.
func (l *masterLeases) Destroy() { l.destroy() }
