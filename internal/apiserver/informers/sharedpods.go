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
)

// SharedPods has the server's own informers keep pods in the memory in which its
// watch cache has them: what both have of a pod is the same, and was a third of all
// memory of a pod. Informers are given the pod as clients are, converted from the internal
// version, which copies little more than the outermost struct. Neither changes it: that is
// the rule for whatever comes from an informer, and here it would be served.
type SharedPods struct {
	ctx   context.Context
	store atomic.Pointer[genericregistry.Store]
}

// NewSharedPods returns a SharedPods that shares nothing before UseStorage. Reads of the watch cache
// end with ctx.
func NewSharedPods(ctx context.Context) *SharedPods { return &SharedPods{ctx: ctx} }

// UseStorage tells where pods are stored.
func (p *SharedPods) UseStorage(storage rest.Storage) error {
	pods, ok := storage.(*podstorage.REST)
	if !ok {
		return fmt.Errorf("the storage of pods is a %T, whose watch cache is not known here", storage)
	}
	p.store.Store(pods.Store)
	return nil
}

// Transform is for informers. The pod is another one in the same version, or the same
// if the watch cache has it in a newer one.
func (p *SharedPods) Transform(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		object = p.shared(pod)
	}
	return trimManagedFields(object)
}

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
