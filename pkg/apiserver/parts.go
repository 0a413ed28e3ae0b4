package apiserver

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Informers are the server's own, for parts of the control plane. They know what
// there was a moment ago. What they hand out is shared and must not be changed: pods
// are in the memory that the API server serves them from. Informers that are added must
// be started. Of kinds that Config.RuntimeConfig has switched off they see none.
func (s *Server) Informers() informers.SharedInformerFactory { return s.generic.informers }

// NewInformers returns informers like those of Informers, for the caller alone, who
// starts them and shuts them down.
func (s *Server) NewInformers() informers.SharedInformerFactory {
	return s.generic.newInformers()
}

// WatchAPIs has changed called whenever a custom resource or an API server behind
// this one was defined, has changed or was removed, until ctx ends or the server
// stops, and for custom resources that there are. Discovery may tell of it some
// moments later.
func (s *Server) WatchAPIs(ctx context.Context, changed func()) error {
	handler := cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, initial bool) {
			if _, custom := object.(*apiextensionsv1.CustomResourceDefinition); custom || !initial {
				changed()
			}
		},
		UpdateFunc: func(before, after any) {
			if differ(before, after) { // and are not only told again
				changed()
			}
		},
		DeleteFunc: func(any) { changed() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		s.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions().Informer(),
		s.aggregator.APIRegistrationInformers.Apiregistration().V1().APIServices().Informer(),
	} {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return fmt.Errorf("apiserver: watch APIs: %w", err)
		}
		context.AfterFunc(ctx, func() { _ = informer.RemoveEventHandler(registration) }) // only ever says that it is none of its own
	}
	return nil
}

func differ(before, after any) bool {
	a, errA := meta.Accessor(before)
	b, errB := meta.Accessor(after)
	return errA != nil || errB != nil || a.GetResourceVersion() != b.GetResourceVersion()
}

// Serves tells whether a built-in resource is served in that version.
func (s *Server) Serves(resource schema.GroupVersionResource) bool {
	return s.generic.server.MergedResourceConfig.ResourceEnabled(resource)
}
