// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"context"
	"fmt"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	podstorage "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	"k8s.io/utils/lru"
)

// SharedPods makes the server's own informers share the memory of pods with its watch
// cache. Both have the same content of a pod, and the copy was a third of the memory that
// a pod takes. Informers get the pod as clients do: converted from the internal version,
// which copies little more than the outermost struct. Objects from informers must not be
// changed in any case; a change here would be served to clients.
type SharedPods struct {
	ctx   context.Context
	store atomic.Pointer[genericregistry.Store]
	// recent has the last pods for informers, by UID: all informers get an event at
	// about the same time, and the same pod for it.
	recent *lru.Cache
}

// recentPods is the number of pods in SharedPods.recent.
const recentPods = 1024

// NewSharedPods returns a SharedPods that shares nothing before UseStorage is called.
// Reads of the watch cache end with ctx.
func NewSharedPods(ctx context.Context) *SharedPods {
	return &SharedPods{ctx: ctx, recent: lru.New(recentPods)}
}

// UseStorage sets the storage of pods. It returns an error if storage is of an unknown
// type.
func (p *SharedPods) UseStorage(storage rest.Storage) error {
	pods, ok := storage.(*podstorage.REST)
	if !ok {
		return fmt.Errorf("the storage of pods is a %T, whose watch cache is unknown", storage)
	}
	p.store.Store(pods.Store)
	return nil
}

// Transform is a cache.TransformFunc for informers. It trims managed fields. It replaces
// a pod by one that shares the memory of the watch cache if the cache has it in the same
// version.
func (p *SharedPods) Transform(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return trimManagedFields(object)
	}
	if recent, ok := p.recent.Get(pod.UID); ok && recent.(*corev1.Pod).ResourceVersion == pod.ResourceVersion {
		return recent, nil
	}
	shared := p.shared(pod)
	object, err := trimManagedFields(shared)
	if err == nil && shared != pod {
		p.recent.Add(pod.UID, shared)
	}
	return object, err
}

// shared returns a new pod that shares the memory of the watch cache, or pod itself.
func (p *SharedPods) shared(pod *corev1.Pod) *corev1.Pod {
	store := p.store.Load()
	if store == nil || store.ReadinessCheck() != nil {
		return pod
	}
	ctx := genericapirequest.WithNamespace(p.ctx, pod.Namespace)
	object, err := store.Get(ctx, pod.Name, &metav1.GetOptions{ResourceVersion: "0"}) // from the watch cache
	if err != nil {
		return pod
	}
	cached, ok := object.(*core.Pod)
	if !ok || cached.ResourceVersion != pod.ResourceVersion {
		return pod
	}
	var shared corev1.Pod
	if err := legacyscheme.Scheme.Convert(cached, &shared, nil); err != nil {
		return pod
	}
	return &shared
}

func trimManagedFields(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}
