// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	etcdkubernetes "go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/grpc/metadata"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// clientFor returns the shared client with watch streams of its own for one storage of
// resource. etcd answers a progress request for a whole stream, and only once it has
// reached the start of every watch on it. On a shared stream, a watch that begins after
// the last write would keep all others from learning that they are fresh.
func (b *Backend) clientFor(resource schema.GroupResource) *etcdkubernetes.Client {
	// Custom resources come and go: the context of the first client must not keep the
	// copy.
	client := copyClient(context.WithoutCancel(b.client.Ctx()), b.client)
	client.Watcher = ownStream{Watcher: b.client.Watcher, name: resource.String() + " " + strconv.FormatInt(b.streams.Add(1), 10)}
	c := &etcdkubernetes.Client{Client: client}
	c.Kubernetes = charged{c}
	return c
}

// ownStream separates watches by their metadata, by which the etcd client chooses the
// stream.
type ownStream struct {
	clientv3.Watcher
	name string
}

func (s ownStream) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return s.Watcher.Watch(s.mark(ctx), key, opts...)
}

func (s ownStream) RequestProgress(ctx context.Context) error {
	return s.Watcher.RequestProgress(s.mark(ctx))
}

func (s ownStream) mark(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "kubembed-resource", s.name)
}
