package apiserver

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
	"k8s.io/kube-openapi/pkg/builder3"
	openapiutil "k8s.io/kube-openapi/pkg/util"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/kubembed/kubembed/internal/storage"
)

// repair makes an existing bootstrap object as a start needs it, before anything is
// served. That concerns APIServices only: while one sends a built-in group version
// elsewhere, the server's own requests go there too, and start hooks that meet this
// wait minutes before they try again. Upstream's controllers repair everything else
// while the server runs.
//
// As upstream's controller of them does, it leaves APIServices alone that have lost
// their label, so that administrators can give a group version a priority of their own.
// But upstream never gets ready where such a one names another server; here it is the
// control plane's again.
func (s *Server) repair(ctx context.Context, store storage.Store, o bootstrapObject) error {
	if o.kind != apiServiceKind {
		return nil
	}
	_, internal, err := o.forms()
	if err != nil {
		return err
	}
	wanted, ok := internal.(*apiregistration.APIService)
	if !ok {
		return fmt.Errorf("an APIService is a %T", internal)
	}
	changed, elsewhere := false, false
	err = store.GuaranteedUpdate(ctx, o.key(store, wanted), &apiregistration.APIService{}, false, nil, apistorage.SimpleUpdate(func(stored runtime.Object) (runtime.Object, error) {
		current, ok := stored.(*apiregistration.APIService)
		if !ok {
			return nil, fmt.Errorf("an APIService is a %T", stored)
		}
		managed := current.Labels[autoregister.AutoRegisterManagedLabel] != ""
		if changed = !apiequality.Semantic.DeepEqual(current.Spec, wanted.Spec) && (managed || current.Spec.Service != nil); !changed {
			return current, nil
		}
		elsewhere = current.Spec.Service != nil
		repaired := current.DeepCopy()
		repaired.Spec = wanted.Spec
		if !managed {
			if repaired.Labels == nil {
				repaired.Labels = map[string]string{}
			}
			repaired.Labels[autoregister.AutoRegisterManagedLabel] = wanted.Labels[autoregister.AutoRegisterManagedLabel]
		}
		return s.updatedAPIService(current, repaired)
	}), nil)
	if err == nil && changed && elsewhere {
		s.config.Logger.Warn("an APIService sent a built-in API to another server, and is the control plane's again, which could not start without it",
			zap.String("apiservice", wanted.Name))
	}
	return err
}

// updatedAPIService records the update in managedFields, as the handler of a request
// would.
func (s *Server) updatedAPIService(current, updated *apiregistration.APIService) (runtime.Object, error) {
	if len(current.ManagedFields) == 0 {
		return updated, nil // of an older release: nobody knows whose the fields are
	}
	types, err := builder3.BuildOpenAPIDefinitionsForResources(s.generic.server.OpenAPIV3Config, openapiutil.GetCanonicalTypeName(&apiregistrationv1.APIService{}))
	if err != nil {
		return nil, err
	}
	converter, err := managedfields.NewTypeConverter(types, false)
	if err != nil {
		return nil, err
	}
	kind := apiServiceKind
	var reset map[fieldpath.APIVersion]fieldpath.Filter
	if strategy, ok := kind.strategy.(rest.ResetFieldsStrategy); ok {
		reset = fieldpath.NewExcludeFilterSetMap(strategy.GetResetFields())
	}
	manager, err := managedfields.NewDefaultFieldManager(converter, kind.scheme, kind.scheme, kind.scheme,
		apiregistrationv1.SchemeGroupVersion.WithKind("APIService"), apiregistration.SchemeGroupVersion, "", reset)
	if err != nil {
		return nil, err
	}
	return manager.Update(current, updated, serverManager)
}
