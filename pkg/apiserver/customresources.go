package apiserver

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericregistry "k8s.io/apiserver/pkg/registry/generic"
)

// createDelay is how long upstream lets the creation of a custom resource sleep
// while its definition has not been established for as long: a second API server
// might not serve it yet.
const createDelay = 2 * time.Second

// createWithoutDelay makes definitions look as if they had been established that
// long ago. There is no other API server, as MasterCount says to upstream's
// establishing controller, which has a delay for the same reason. Where there may be
// others the delay stays, but ends: when the clock was set back, a CRD whose
// time of establishment is in the future counts as established now.
func createWithoutDelay(factory informers.SharedInformerFactory, shared bool) error {
	least := createDelay
	if shared {
		least = 0
	}
	return factory.Apiextensions().V1().CustomResourceDefinitions().Informer().SetTransform(func(object any) (any, error) {
		crd, ok := object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			return object, nil
		}
		for i := range crd.Status.Conditions {
			condition := &crd.Status.Conditions[i]
			// In the future, if the clock has been set back.
			if age := time.Since(condition.LastTransitionTime.Time); condition.Type == apiextensionsv1.Established && age < least {
				condition.LastTransitionTime.Time = condition.LastTransitionTime.Add(min(age, 0) - least)
			}
		}
		return object, nil
	})
}

// firstUse returns a channel that is closed when there may be objects of a custom
// resource: when it has been asked for since the server runs, by whomever, when some
// are stored from before, or when other servers work on the same etcd. For any other
// resource it is closed. It is for controllers of every kind: their informers would
// have the server prepare, and keep in memory, what nobody uses. ctx bounds the call.
func (s *Server) firstUse(ctx context.Context, resource schema.GroupResource) <-chan struct{} {
	used := s.generic.uses.of(resource)
	select {
	case <-used:
		return used
	default:
	}
	if s.config.Shared || !s.custom(resource) || s.stored(ctx, resource) {
		s.generic.uses.mark(resource)
	}
	return used
}

func (s *Server) custom(resource schema.GroupResource) bool {
	_, err := s.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister().Get(resource.String())
	return err == nil
}

// stored tells whether there may be objects of a custom resource in etcd.
func (s *Server) stored(ctx context.Context, resource schema.GroupResource) bool {
	objects, err := s.backend.Client().Get(ctx, s.customPrefix(resource), clientv3.WithPrefix(), clientv3.WithCountOnly())
	return err != nil || objects.Count > 0
}

// customPrefix returns what the keys of a custom resource begin with in etcd, as upstream's
// CustomResourceDefinitionRESTOptionsGetter has it.
func (s *Server) customPrefix(resource schema.GroupResource) string {
	return s.backend.Prefix() + "/" + resource.Group + "/" + resource.Resource + "/"
}

// firstUses are channels that are closed when a custom resource is asked for first.
// They stay when its definition is deleted: it may be defined again.
type firstUses struct {
	mu        sync.Mutex
	resources map[schema.GroupResource]chan struct{}
}

func (f *firstUses) of(resource schema.GroupResource) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	used, ok := f.resources[resource]
	if !ok {
		used = make(chan struct{})
		if f.resources == nil {
			f.resources = map[schema.GroupResource]chan struct{}{}
		}
		f.resources[resource] = used
	}
	return used
}

func (f *firstUses) mark(resource schema.GroupResource) {
	used := f.of(resource)
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-used:
	default:
		close(used)
	}
}

// usedOptions marks custom resources when upstream makes their storage, which it
// does for the first request, and for the first after their definition has changed.
type usedOptions struct {
	genericregistry.RESTOptionsGetter
	uses *firstUses
}

func (o usedOptions) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (genericregistry.RESTOptions, error) {
	o.uses.mark(resource)
	return o.RESTOptionsGetter.GetRESTOptions(resource, example)
}
