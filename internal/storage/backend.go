// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/utils/clock"
)

// DefaultPrefix is the path below which every object is stored. It is that of
// kube-apiserver, so that etcdctl, snapshots and other tools find objects where they
// expect them.
const DefaultPrefix = "/registry"

// Options change the defaults of a Backend.
type Options struct {
	// CompactionInterval is the time between two compactions. If zero, upstream's.
	CompactionInterval time.Duration
	// DisableCompaction leaves compactions to others.
	DisableCompaction bool
	// WatchCacheSizes are added to kube-apiserver's: zero is no watch cache.
	WatchCacheSizes map[schema.GroupResource]int
	// DisableWatchCache switches all watch caches off.
	DisableWatchCache bool
	// DeleteCollectionWorkers is the number of concurrent deletions of a request that
	// deletes a collection. If zero, upstream's.
	DeleteCollectionWorkers int
}

func (o Options) compactionInterval() time.Duration {
	switch {
	case o.DisableCompaction:
		return 0
	case o.CompactionInterval == 0:
		return storagebackend.DefaultCompactInterval
	}
	return o.CompactionInterval
}

// DialFunc opens a connection to etcd for upstream code that insists on dialling.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Backend is one etcd, reached through one client, that all resources share. Override
// moves resources to others.
// It is safe for concurrent use.
type Backend struct {
	client       *clientv3.Client
	endpoints    []string // for code that dials
	dial         DialFunc
	prefix       string
	options      Options
	availability *availability // nil in memory
	compactor    interface {
		etcd3.Compactor
		Stop()
	}

	// overrides are other etcds, and homes the resources in them.
	overrides []*Backend
	homes     map[schema.GroupResource]*Backend

	streams   atomic.Int64 // created so far: their names are numbered
	observers func(schema.GroupResource) Observer

	mu     sync.Mutex
	stores map[schema.GroupResource]Store
	open   map[*func()]struct{} // destroy functions that have not been called
}

// Store is a resource's storage below the watch cache, with the prefix of its
// keys.
type Store struct {
	storage.Interface
	ResourcePrefix string
}

// NewBackend returns a Backend over client that keeps everything below prefix, and starts
// its compactor, which cooperates with the compactors of other servers on the same etcd,
// whatever their prefix. The client stays the caller's: Close stops the compactor and
// leaves the client open.
func NewBackend(client *clientv3.Client, dial DialFunc, prefix string, options Options) *Backend {
	// Lists are served consistently from the watch cache once etcd is known to
	// report progress. etcd3.New asks each endpoint of the client, and an
	// in-process client has none.
	feature.DefaultFeatureSupportChecker.CheckClient(client.Ctx(), named{client}, storage.RequestWatchProgress)
	// Upstream requires an address, which dial ignores. An in-process member has none;
	// "passthrough:" keeps gRPC from looking it up in the DNS.
	endpoints := client.Endpoints()
	if dial != nil {
		endpoints = []string{"passthrough:///embedded"}
	}
	availability := newAvailability(client)
	return &Backend{
		client:       sharedClient(client, availability),
		availability: availability,
		endpoints:    endpoints,
		dial:         dial,
		prefix:       prefix,
		options:      options,
		// NewCompactor and not StartCompactorPerEndpoint, which keeps one compactor per
		// endpoint and process: in-process clients have no endpoint that tells them
		// apart.
		compactor: etcd3.NewCompactor(client, options.compactionInterval(), clock.RealClock{}, nil),
		stores:    map[schema.GroupResource]Store{},
		open:      map[*func()]struct{}{},
	}
}

// named gives an in-process client an endpoint.
type named struct{ *clientv3.Client }

func (c named) Endpoints() []string {
	if endpoints := c.Client.Endpoints(); len(endpoints) > 0 {
		return endpoints
	}
	return []string{"embedded"}
}

// sharedClient returns a copy of client whose KV tracks the latency of each request for
// the audit log and the metrics, as upstream's own client does. Its calls do not wait
// long for an unreachable etcd.
func sharedClient(client *clientv3.Client, availability *availability) *clientv3.Client {
	c := copyClient(client.Ctx(), client)
	if availability != nil {
		c.KV, c.Lease = boundedKV{c.KV, availability}, boundedLease{c.Lease, availability}
	}
	c.KV = etcd3.NewETCDLatencyTracker(c.KV)
	return c
}

// copyClient returns a client that shares the connection of another and has a context and
// fields of its own. It has no endpoints: NewBackend reads the endpoints of the first.
func copyClient(ctx context.Context, client *clientv3.Client) *clientv3.Client {
	c := clientv3.NewCtxClient(ctx, clientv3.WithZapLogger(client.GetLogger()))
	c.Cluster, c.KV, c.Lease = client.Cluster, client.KV, client.Lease
	c.Watcher, c.Auth, c.Maintenance = client.Watcher, client.Auth, client.Maintenance
	return c
}

// Client returns the shared client.
func (b *Backend) Client() *clientv3.Client { return b.client }

// Close destroys the storages that the API server has made and not destroyed,
// which are those of resources that are switched off, and ends the compactor.
func (b *Backend) Close() {
	b.mu.Lock()
	var destroy []func()
	for f := range b.open {
		destroy = append(destroy, *f)
	}
	b.mu.Unlock()
	for _, f := range destroy {
		f()
	}
	for _, override := range b.overrides {
		override.Close()
	}
	b.compactor.Stop()
	b.availability.close()
}

// own returns a destroy function that may be called more than once, as upstream does for
// storages that subresources share. Close calls it if nothing else has.
func (b *Backend) own(destroy func()) func() {
	var once func()
	once = sync.OnceFunc(func() {
		b.mu.Lock()
		delete(b.open, &once)
		b.mu.Unlock()
		destroy()
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[&once] = struct{}{}
	return once
}

// Store returns the storage of a built-in resource below the watch cache. It exists once
// the resource is installed.
func (b *Backend) Store(resource schema.GroupResource) (Store, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	store, ok := b.stores[resource]
	if !ok {
		return Store{}, fmt.Errorf("storage: resource %q is not installed", resource)
	}
	return store, nil
}

func (b *Backend) remember(resource schema.GroupResource, store Store) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stores != nil {
		b.stores[resource] = store
	}
}

// ForgetStores drops the storages that Store returns. Call it when the built-in resources
// are seeded; otherwise the stores of deleted custom resources stay in memory forever.
func (b *Backend) ForgetStores() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stores = nil
}

// EtcdOptions returns kube-apiserver's defaults for this backend, with an in-memory
// dialer for code that dials.
func (b *Backend) EtcdOptions(codec runtime.Codec) *options.EtcdOptions {
	o := options.NewEtcdOptions(storagebackend.NewDefaultConfig(b.prefix, codec))
	o.DefaultStorageMediaType = runtime.ContentTypeProtobuf
	o.SkipHealthEndpoints = true
	if b.options.DeleteCollectionWorkers > 0 {
		o.DeleteCollectionWorkers = b.options.DeleteCollectionWorkers
	}
	// Upstream keeps a compactor and a monitor of the database's size for each
	// endpoint and process, and takes all in-memory endpoints for the same.
	// The compactor here is the Backend's.
	o.StorageConfig.CompactionInterval = 0
	o.StorageConfig.DBMetricPollInterval = 0
	o.StorageConfig.Transport.ServerList = b.endpoints
	if b.dial != nil {
		o.StorageConfig.Transport.EgressLookup = func(egressselector.NetworkContext) (utilnet.DialFunc, error) {
			return utilnet.DialFunc(b.dial), nil
		}
	}
	return o
}
