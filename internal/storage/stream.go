package storage

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/grpc/metadata"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// clientFor is the shared client with watch streams of resource's own. etcd
// answers a request for progress for a whole stream, and only once it has
// reached the start of every watch on it: the watch of one resource that begins
// after the last write would keep all others from learning that they are fresh.
func (b *Backend) clientFor(resource schema.GroupResource) *etcdkubernetes.Client {
	shared := b.client.Client
	c := clientv3.NewCtxClient(shared.Ctx())
	c.KV, c.Lease, c.Maintenance, c.Cluster, c.Auth = shared.KV, shared.Lease, shared.Maintenance, shared.Cluster, shared.Auth
	c.Watcher = ownStream{Watcher: shared.Watcher, resource: resource.String()}
	k := &etcdkubernetes.Client{Client: c}
	k.Kubernetes = k
	return k
}

// ownStream keeps watches apart by their metadata, by which the etcd client
// chooses the stream.
type ownStream struct {
	clientv3.Watcher
	resource string
}

func (s ownStream) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return s.Watcher.Watch(s.mark(ctx), key, opts...)
}

func (s ownStream) RequestProgress(ctx context.Context) error {
	return s.Watcher.RequestProgress(s.mark(ctx))
}

func (s ownStream) mark(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "kubembed-resource", s.resource)
}
