// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	configmapstore "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
	secretstore "k8s.io/kubernetes/pkg/registry/core/secret/storage"

	"github.com/kubembed/kubembed/internal/storage"
)

// createAndList creates a ConfigMap and lists it, by a watch cache.
func createAndList(t *testing.T, s *setup) {
	t.Helper()
	configMaps, err := configmapstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer configMaps.Destroy()
	createAndGet(t, configMaps, "c", &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "default"}})
	list, err := configMaps.List(namespaced(t), nil)
	if err != nil || len(list.(*core.ConfigMapList).Items) != 1 {
		t.Fatalf("listed %v, %v", list, err)
	}
}

// TestWatchCacheIsFilledByStream: upstream's default in kube-apiserver with etcd 3.7.
func TestWatchCacheIsFilledByStream(t *testing.T) {
	s := start(t)
	createAndList(t, s)
	if s.kv.streams.Load() == 0 {
		t.Error("etcd was not asked for a stream")
	}
	if !feature.DefaultFeatureSupportChecker.Supports(apistorage.RangeStream) {
		t.Error("etcd refused it")
	}
}

// unary is an etcd without streams.
type unary struct{ clientv3.KV }

func (unary) GetStream(context.Context, string, ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	return nil, status.Error(codes.Unimplemented, "unknown method RangeStream")
}

// TestEtcdWithoutStreams: an external etcd may be older than 3.7. Upstream remembers that
// for ten minutes and for all etcds of the process.
func TestEtcdWithoutStreams(t *testing.T) {
	before := feature.DefaultFeatureSupportChecker
	feature.DefaultFeatureSupportChecker = feature.NewDefaultFeatureSupportChecker()
	t.Cleanup(func() { feature.DefaultFeatureSupportChecker = before })
	s := start(t)
	s.kv.KV = unary{s.kv.KV}
	createAndList(t, s)
	if feature.DefaultFeatureSupportChecker.Supports(apistorage.RangeStream) {
		t.Error("etcd was not asked for a stream")
	}
}

// TestListThatCannotBeDecoded: upstream stops reading the stream, and the context of such
// a list may never end, like that of a watch cache. No goroutine stays.
func TestListThatCannotBeDecoded(t *testing.T) {
	s := start(t)
	o := s.EtcdOptions(legacyscheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion))
	upstream := o.CreateRESTOptionsGetter(&options.SimpleStorageFactory{StorageConfig: o.StorageConfig}, nil)
	secrets, err := secretstore.NewREST(s.RESTOptionsGetter(upstream, func(schema.GroupResource) bool { return false })) // without a watch cache
	if err != nil {
		t.Fatal(err)
	}
	defer secrets.Destroy()
	for batch := range 10 { // more than upstream reads before it gives up, and than the chunks that anybody holds
		var puts []clientv3.Op
		for i := range 500 {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("/registry/secrets/default/%d-%d", batch, i), "no secret"))
		}
		if _, err := s.client.Txn(t.Context()).Then(puts...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	store, err := s.Store(schema.GroupResource{Resource: "secrets"})
	if err != nil {
		t.Fatal(err)
	}
	running := goleak.IgnoreCurrent()
	before := s.kv.streams.Load()
	err = store.GetList(context.Background(), store.ResourcePrefix, apistorage.ListOptions{Predicate: apistorage.Everything, Recursive: true}, &core.SecretList{})
	if err == nil || s.kv.streams.Load() == before {
		t.Fatalf("%d streams: %v", s.kv.streams.Load()-before, err)
	}
	if err := goleak.Find(running); err != nil {
		t.Error(err)
	}
}

// TestStreamFromAnUnreachableEtcd: the etcd client would wait for a connection until the
// context ends; the context of a watch cache never ends.
func TestStreamFromAnUnreachableEtcd(t *testing.T) {
	t.Parallel()                                                                                           // it takes as long as the backend waits
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}, Logger: zap.NewNop()}) // a port without a listener
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	external := storage.NewBackend(client, nil, storage.DefaultPrefix, storage.Options{})
	defer external.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := external.Client().GetStream(ctx, "/registry/", clientv3.WithPrefix())
	if err == nil {
		first := <-stream
		err = first.Err()
	}
	if err == nil || !strings.Contains(err.Error(), "etcd cannot be reached") {
		t.Errorf("got %v, want that etcd cannot be reached", err)
	}
}
