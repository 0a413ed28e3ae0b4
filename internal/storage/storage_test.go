// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server/options"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	configmapstore "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
	eventstore "k8s.io/kubernetes/pkg/registry/core/event/storage"
	secretstore "k8s.io/kubernetes/pkg/registry/core/secret/storage"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
	"github.com/kubembed/kubembed/internal/storage"
	"github.com/kubembed/kubembed/pkg/etcd"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}

// counted counts the calls of a client, and can block reads.
type counted struct {
	clientv3.KV
	calls, streams atomic.Int64
	gate           atomic.Pointer[chan struct{}]
}

// hold makes reads wait until gate is closed.
func (c *counted) hold(gate chan struct{}) { c.gate.Store(&gate) }

func (c *counted) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := c.wait(ctx); err != nil {
		return nil, err
	}
	c.calls.Add(1)
	return c.KV.Get(ctx, key, opts...)
}

func (c *counted) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	if err := c.wait(ctx); err != nil {
		return nil, err
	}
	c.streams.Add(1)
	return c.KV.GetStream(ctx, key, opts...)
}

func (c *counted) wait(ctx context.Context) error {
	if gate := c.gate.Load(); gate != nil {
		select {
		case <-*gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *counted) Txn(ctx context.Context) clientv3.Txn {
	c.calls.Add(1)
	return c.KV.Txn(ctx)
}

// setup is a backend over an embedded member, with a counted client. A dial fails the
// test.
type setup struct {
	*storage.Backend
	client *clientv3.Client // of the member, uncounted
	kv     *counted
}

func start(t testing.TB) *setup {
	t.Helper()
	member, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{client: member.Client(), kv: &counted{KV: member.Client().KV}}
	client := clientv3.NewCtxClient(context.Background())
	client.KV, client.Watcher, client.Lease, client.Maintenance = s.kv, s.client.Watcher, s.client.Lease, s.client.Maintenance
	s.Backend = storage.NewBackend(client, func(context.Context, string, string) (net.Conn, error) {
		t.Error("a resource dials etcd")
		return nil, errors.New("dialled")
	}, storage.DefaultPrefix, storage.Options{})
	t.Cleanup(func() {
		s.Close()
		if err := member.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// getter returns the getter that the API server passes to the registries.
func (s *setup) getter(transformers value.ResourceTransformers) generic.RESTOptionsGetter {
	o := s.EtcdOptions(legacyscheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion))
	factory := &options.SimpleStorageFactory{StorageConfig: o.StorageConfig}
	return s.RESTOptionsGetter(o.CreateRESTOptionsGetter(factory, transformers), nil)
}

// namespaced returns the context of a request, which declarative validation needs.
func namespaced(t testing.TB) context.Context {
	ctx := genericapirequest.WithRequestInfo(t.Context(), &genericapirequest.RequestInfo{IsResourceRequest: true, APIVersion: "v1"})
	return genericapirequest.WithNamespace(ctx, "default")
}

// createAndGet writes an object and reads it again.
func createAndGet(t *testing.T, store rest.StandardStorage, name string, object runtime.Object) {
	t.Helper()
	ctx := namespaced(t)
	if _, err := store.Create(ctx, object, rest.ValidateAllObjectFunc, &metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(ctx, name, &metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestResourcesShareTheClient(t *testing.T) {
	s := start(t)
	configMaps, err := configmapstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer configMaps.Destroy()
	secrets, err := secretstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer secrets.Destroy()
	for key, write := range map[string]func(){
		"/registry/configmaps/default/c": func() {
			createAndGet(t, configMaps, "c", &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "default"}})
		},
		"/registry/secrets/default/s": func() {
			createAndGet(t, secrets, "s", &core.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}})
		},
	} {
		before := s.kv.calls.Load()
		write()
		if s.kv.calls.Load() == before {
			t.Errorf("%s was not written through the shared client", key)
		}
		// At the key and in the form of kube-apiserver.
		if raw := s.raw(t, key); !bytes.HasPrefix(raw, []byte("k8s\x00")) && !bytes.HasPrefix(raw, []byte("{")) {
			t.Errorf("%s: %.20q", key, raw)
		}
	}
}

func (s *setup) raw(t *testing.T, key string) []byte {
	t.Helper()
	got, err := s.client.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 {
		t.Fatalf("%s is not in etcd", key)
	}
	return got.Kvs[0].Value
}

// TestDestroyTwice: a resource and its subresources share a store, and each destroys it.
// None of them closes the client.
func TestDestroyTwice(t *testing.T) {
	s := start(t)
	for _, resource := range []func() (*genericregistry.Store, error){
		func() (*genericregistry.Store, error) {
			r, err := configmapstore.NewREST(s.getter(nil))
			return r.Store, err
		},
		func() (*genericregistry.Store, error) {
			r, err := eventstore.NewREST(s.getter(nil), 60)
			return r.Store, err
		},
	} {
		store, err := resource()
		if err != nil {
			t.Fatal(err)
		}
		store.Destroy()
		store.Destroy()
	}
	again, err := configmapstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Destroy()
	createAndGet(t, again, "c", &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "default"}})
}

func TestWatchCacheIsOffForEvents(t *testing.T) {
	s := start(t)
	configMaps, err := configmapstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer configMaps.Destroy()
	events, err := eventstore.NewREST(s.getter(nil), 60)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Destroy()
	for name, test := range map[string]struct {
		storage apistorage.Interface
		cached  bool
	}{"configmaps": {configMaps.Storage.Storage, true}, "events": {events.Storage.Storage, false}} {
		if storage.Cached(test.storage) != test.cached {
			t.Errorf("%s: %T", name, test.storage)
		}
	}
}

// TestUnservedResource: a resource that is not served gets no watch cache, which would
// list and watch forever.
func TestUnservedResource(t *testing.T) {
	s := start(t)
	o := s.EtcdOptions(legacyscheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion))
	upstream := o.CreateRESTOptionsGetter(&options.SimpleStorageFactory{StorageConfig: o.StorageConfig}, nil)
	getter := s.RESTOptionsGetter(upstream, func(resource schema.GroupResource) bool { return resource.Resource != "configmaps" })
	configMaps, err := configmapstore.NewREST(getter)
	if err != nil {
		t.Fatal(err)
	}
	defer configMaps.Destroy()
	secrets, err := secretstore.NewREST(getter)
	if err != nil {
		t.Fatal(err)
	}
	defer secrets.Destroy()
	if storage.Cached(configMaps.Storage.Storage) {
		t.Error("a resource that is not served has a watch cache")
	}
	if !storage.Cached(secrets.Storage.Storage) {
		t.Error("a resource that is served has none")
	}
}

// flip is a simple encryption. It records the resources that it was requested for.
type flip struct{ asked []schema.GroupResource }

func (f *flip) TransformerForResource(resource schema.GroupResource) value.Transformer {
	f.asked = append(f.asked, resource)
	return f
}

func (f *flip) TransformToStorage(_ context.Context, data []byte, _ value.Context) ([]byte, error) {
	return flipped(data), nil
}

func (f *flip) TransformFromStorage(_ context.Context, data []byte, _ value.Context) ([]byte, bool, error) {
	return flipped(data), false, nil
}

func flipped(data []byte) []byte {
	out := slices.Clone(data)
	for i := range out {
		out[i] ^= 0xff
	}
	return out
}

func TestTransformer(t *testing.T) {
	s := start(t)
	f := &flip{}
	secrets, err := secretstore.NewREST(s.getter(f))
	if err != nil {
		t.Fatal(err)
	}
	defer secrets.Destroy()
	secret := &core.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"},
		Data:       map[string][]byte{"key": []byte("confidential")},
	}
	createAndGet(t, secrets, "s", secret)
	if !slices.Contains(f.asked, schema.GroupResource{Resource: "secrets"}) {
		t.Errorf("transformers were asked for %v", f.asked)
	}
	raw := s.raw(t, "/registry/secrets/default/s")
	if bytes.Contains(raw, []byte("confidential")) || bytes.Contains(raw, []byte("default")) {
		t.Errorf("in the clear: %q", raw)
	}
	got, err := secrets.Get(namespaced(t), "s", &metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if value := string(got.(*core.Secret).Data["key"]); value != "confidential" {
		t.Errorf("read %q", value)
	}

	// Without the transformer the value is unreadable.
	blind, err := secretstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer blind.Destroy()
	if _, err := blind.Get(namespaced(t), "s", &metav1.GetOptions{}); err == nil || apierrors.IsNotFound(err) {
		t.Errorf("read without the transformer: %v", err)
	}
}

func TestStore(t *testing.T) {
	s := start(t)
	secretsResource := schema.GroupResource{Resource: "secrets"}
	if _, err := s.Store(secretsResource); err == nil {
		t.Error("a store of a resource that is not installed")
	}
	secrets, err := secretstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer secrets.Destroy()
	store, err := s.Store(secretsResource)
	if err != nil {
		t.Fatal(err)
	}
	// Writes below the watch cache are visible above it.
	secret := &core.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}}
	if err := store.Create(t.Context(), store.ResourcePrefix+"/default/s", secret, nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Get(namespaced(t), "s", &metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	s.ForgetStores()
	if _, err := s.Store(secretsResource); err == nil {
		t.Error("the store is not forgotten")
	}
	late, err := configmapstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer late.Destroy()
	if _, err := s.Store(schema.GroupResource{Resource: "configmaps"}); err == nil {
		t.Error("a store that was created later is kept")
	}
}

// TestEndpointsOfTheClient: an external etcd is dialled at its endpoints, an embedded one
// nowhere.
func TestEndpointsOfTheClient(t *testing.T) {
	s := start(t)
	if got := s.EtcdOptions(nil).StorageConfig.Transport; !slices.Equal(got.ServerList, []string{"passthrough:///embedded"}) || got.EgressLookup == nil {
		t.Errorf("embedded: %q", got.ServerList)
	}
	endpoints := []string{"127.0.0.1:1"} // a port without a listener
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	external := storage.NewBackend(client, nil, storage.DefaultPrefix, storage.Options{})
	defer external.Close()
	if got := external.EtcdOptions(nil).StorageConfig.Transport; !slices.Equal(got.ServerList, endpoints) || got.EgressLookup != nil {
		t.Errorf("external: %q", got.ServerList)
	}
}
