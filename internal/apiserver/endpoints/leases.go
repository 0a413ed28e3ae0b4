// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"context"
	"fmt"
	"path"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"

	"github.com/kubembed/kubembed/internal/keyspace"
	"github.com/kubembed/kubembed/internal/storage"
)

const (
	// masterLeaseTTL is how long the key of a server stays after its end, as upstream.
	// Other servers read the keys every ten seconds.
	masterLeaseTTL = 15 * time.Second
	// masterLeaseTimeout bounds each call of etcd. Upstream's calls are not bounded, and
	// would delay a stop while etcd is unavailable.
	masterLeaseTimeout = 5 * time.Second
	// masterLeasePrefix is upstream's. The storage adds Config.Prefix.
	masterLeasePrefix = "/" + keyspace.MasterLeasesPath
)

// NewLeaseReconciler returns the reconciler of servers that share an etcd, as
// createLeaseReconciler of k8s.io/kubernetes/pkg/controlplane: each server keeps a key in
// etcd that expires after its end, and writes the addresses of all keys into the
// endpoints of the kubernetes Service. config is the storage configuration for
// core.Endpoints.
func NewLeaseReconciler(ctx context.Context, backend *storage.Backend, config *storagebackend.ConfigForResource, loopback *clientrest.Config) (reconcilers.EndpointReconciler, error) {
	store, destroy, err := backend.Uncached(config, masterLeasePrefix)
	if err != nil {
		return nil, fmt.Errorf("apiserver: leases of API servers: %w", err)
	}
	return reconcilers.NewLeaseEndpointReconciler(
		reconcilers.NewEndpointsAdapter(corev1client.NewForConfigOrDie(loopback), discoveryv1client.NewForConfigOrDie(loopback)),
		&masterLeases{ctx: ctx, store: store, destroy: destroy}), nil
}

// masterLeases is upstream's reconcilers.NewLeases over the shared client. Upstream's
// dials etcd, and prints to standard error while etcd is unavailable.
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

// ListLeases returns the addresses of all running servers.
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

// UpdateLease renews the key of the server at ip.
func (l *masterLeases) UpdateLease(ip string) error {
	return l.call(func(ctx context.Context) error {
		return l.store.GuaranteedUpdate(ctx, path.Join(masterLeasePrefix, ip), &core.Endpoints{}, true, nil,
			func(object runtime.Object, _ apistorage.ResponseMeta) (runtime.Object, *uint64, error) {
				lease, ok := object.(*core.Endpoints)
				if !ok {
					return nil, nil, fmt.Errorf("lease of an API server is a %T", object)
				}
				lease.Subsets = []core.EndpointSubset{{Addresses: []core.EndpointAddress{{IP: ip}}}}
				// The storage does not write an unchanged object, and its key would
				// expire.
				lease.Generation++
				ttl := uint64(masterLeaseTTL / time.Second)
				return lease, &ttl, nil
			}, nil)
	})
}

// RemoveLease deletes the key of the server at ip.
func (l *masterLeases) RemoveLease(ip string) error {
	return l.call(func(ctx context.Context) error {
		return l.store.Delete(ctx, path.Join(masterLeasePrefix, ip), &core.Endpoints{}, nil, rest.ValidateAllObjectFunc, nil, apistorage.DeleteOptions{})
	})
}

// Destroy releases the storage.
func (l *masterLeases) Destroy() { l.destroy() }
