// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package bootstrap

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

// repair updates an existing APIService that sends a built-in group version to another
// server. The server's own requests would go to that server, and start hooks that fail
// because of it wait for minutes before they try again. All other objects are left to
// upstream's controllers, which update them while the server runs.
//
// As upstream's autoregistration controller does, repair ignores APIServices without its
// label, so that administrators can change the priority of a group version. The exception
// is an APIService that names another server: upstream never becomes ready with it, and
// here the control plane takes it back.
func (c Config) repair(ctx context.Context, store storage.Store, o object) error {
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
	changed, redirected := false, false
	err = store.GuaranteedUpdate(ctx, store.Key("", wanted.Name), &apiregistration.APIService{}, false, nil, apistorage.SimpleUpdate(func(stored runtime.Object) (runtime.Object, error) {
		current, ok := stored.(*apiregistration.APIService)
		if !ok {
			return nil, fmt.Errorf("an APIService is a %T", stored)
		}
		managed := current.Labels[autoregister.AutoRegisterManagedLabel] != ""
		if changed = !apiequality.Semantic.DeepEqual(current.Spec, wanted.Spec) && (managed || current.Spec.Service != nil); !changed {
			return current, nil
		}
		redirected = current.Spec.Service != nil
		repaired := current.DeepCopy()
		repaired.Spec = wanted.Spec
		if !managed {
			if repaired.Labels == nil {
				repaired.Labels = map[string]string{}
			}
			repaired.Labels[autoregister.AutoRegisterManagedLabel] = wanted.Labels[autoregister.AutoRegisterManagedLabel]
		}
		return c.updatedAPIService(current, repaired)
	}), nil)
	if err == nil && changed && redirected {
		c.Logger.Warn("an APIService sent a built-in API to another server: it is changed back to this server, which could not become ready otherwise",
			zap.String("apiservice", wanted.Name))
	}
	return err
}

// updatedAPIService records the update in managedFields as the handler of a request
// would.
func (c Config) updatedAPIService(current, updated *apiregistration.APIService) (runtime.Object, error) {
	if len(current.ManagedFields) == 0 {
		return updated, nil // an older release created it, and recorded no managers
	}
	types, err := builder3.BuildOpenAPIDefinitionsForResources(c.OpenAPI, openapiutil.GetCanonicalTypeName(&apiregistrationv1.APIService{}))
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
	return manager.Update(current, updated, ServerManager)
}
