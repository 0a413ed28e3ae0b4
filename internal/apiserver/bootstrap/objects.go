// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	flowcontrolbootstrap "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
	"k8s.io/kube-aggregator/pkg/registry/apiservice"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // registers its kinds
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	_ "k8s.io/kubernetes/pkg/apis/flowcontrol/install" // registers its kinds
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install" // registers its kinds
	"k8s.io/kubernetes/pkg/apis/rbac"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install" // registers its kinds
	"k8s.io/kubernetes/pkg/apis/scheduling"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install" // registers its kinds
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"
	servicecidrregistry "k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"

	"github.com/kubembed/kubembed/internal/apiserver/rbacpolicy"
	"github.com/kubembed/kubembed/internal/apiserver/servicecidr"
	"github.com/kubembed/kubembed/internal/storage"
)

// object is an object to create.
type object struct {
	kind    *kind
	v1      runtime.Object // without defaults
	manager string         // in managedFields
}

// kind is a kind of objects, and the way in which upstream stores them.
type kind struct {
	resource schema.GroupResource
	strategy rest.RESTCreateStrategy
	scheme   *runtime.Scheme
	internal func() runtime.Object // an empty object of the internal version
}

var (
	namespaceKind = &kind{core.Resource("namespaces"), namespace.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &core.Namespace{} }}
	serviceAccountKind = &kind{core.Resource("serviceaccounts"), serviceaccount.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &core.ServiceAccount{} }}
	configMapKind = &kind{core.Resource("configmaps"), configmap.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &core.ConfigMap{} }}
	priorityClassKind = &kind{scheduling.Resource("priorityclasses"), priorityclass.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &scheduling.PriorityClass{} }}
	clusterRoleKind = &kind{rbac.Resource("clusterroles"), clusterrole.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &rbac.ClusterRole{} }}
	clusterRoleBindingKind = &kind{rbac.Resource("clusterrolebindings"), clusterrolebinding.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &rbac.ClusterRoleBinding{} }}
	roleKind = &kind{rbac.Resource("roles"), role.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &rbac.Role{} }}
	roleBindingKind = &kind{rbac.Resource("rolebindings"), rolebinding.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &rbac.RoleBinding{} }}
	priorityLevelKind = &kind{flowcontrol.Resource("prioritylevelconfigurations"), prioritylevelconfiguration.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &flowcontrol.PriorityLevelConfiguration{} }}
	flowSchemaKind = &kind{flowcontrol.Resource("flowschemas"), flowschema.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &flowcontrol.FlowSchema{} }}
	serviceCIDRKind = &kind{networking.Resource("servicecidrs"), servicecidrregistry.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &networking.ServiceCIDR{} }}
	apiServiceKind = &kind{apiregistration.Resource("apiservices"), apiservice.NewStrategy(aggregatorscheme.Scheme), aggregatorscheme.Scheme,
		func() runtime.Object { return &apiregistration.APIService{} }}
)

// objects returns the objects that upstream's start hooks and controllers create in a new
// cluster. With Config.Controllers they include the objects of each system namespace.
func (c Config) objects() []object {
	var all []object
	addAs := func(manager string, kind *kind, v1 runtime.Object) {
		all = append(all, object{kind, v1, manager})
	}
	add := func(kind *kind, v1 runtime.Object) { addAs(ServerManager, kind, v1) }
	for _, name := range SystemNamespaces {
		add(namespaceKind, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if c.Controllers {
			addAs(controllersManager, serviceAccountKind, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}})
			addAs(controllersManager, configMapKind, c.rootCA(name))
		}
	}
	for _, class := range schedulingv1.SystemPriorityClasses() {
		add(priorityClassKind, class)
	}
	policy := rbacpolicy.New()
	if c.Controllers {
		rbacpolicy.Aggregate(policy.ClusterRoles)
	}
	for i := range policy.ClusterRoles {
		add(clusterRoleKind, &policy.ClusterRoles[i])
	}
	for i := range policy.ClusterRoleBindings {
		add(clusterRoleBindingKind, &policy.ClusterRoleBindings[i])
	}
	for _, roles := range policy.Roles {
		for i := range roles {
			add(roleKind, &roles[i])
		}
	}
	for _, bindings := range policy.RoleBindings {
		for i := range bindings {
			add(roleBindingKind, &bindings[i])
		}
	}
	for _, level := range slices.Concat(flowcontrolbootstrap.MandatoryPriorityLevelConfigurations, flowcontrolbootstrap.SuggestedPriorityLevelConfigurations) {
		level = level.DeepCopy()
		metav1.SetMetaDataAnnotation(&level.ObjectMeta, flowcontrolv1.AutoUpdateAnnotationKey, "true")
		addAs(flowControlManager, priorityLevelKind, level)
	}
	for _, schema := range slices.Concat(flowcontrolbootstrap.MandatoryFlowSchemas, flowcontrolbootstrap.SuggestedFlowSchemas) {
		schema = schema.DeepCopy()
		metav1.SetMetaDataAnnotation(&schema.ObjectMeta, flowcontrolv1.AutoUpdateAnnotationKey, "true")
		addAs(flowControlManager, flowSchemaKind, schema)
	}
	add(serviceCIDRKind, servicecidr.Object(c.Services))
	for gv, priority := range GroupPriorities() {
		if !c.Serves(gv) {
			continue
		}
		add(apiServiceKind, &apiregistrationv1.APIService{
			// The label of upstream's autoregistration controller, which keeps them
			// up to date from here on.
			ObjectMeta: metav1.ObjectMeta{
				Name:   gv.Version + "." + gv.Group,
				Labels: map[string]string{autoregister.AutoRegisterManagedLabel: "onstart"},
			},
			Spec: apiregistrationv1.APIServiceSpec{
				Group: gv.Group, Version: gv.Version,
				GroupPriorityMinimum: priority.Group, VersionPriority: priority.Version,
			},
		})
	}
	return all
}

// rootCA is the ConfigMap that upstream's root CA publisher creates in each namespace.
func (c Config) rootCA(namespace string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   namespace,
			Name:        rootcacertpublisher.RootCACertConfigMapName,
			Annotations: map[string]string{rootcacertpublisher.DescriptionAnnotation: rootcacertpublisher.Description},
		},
		Data: map[string]string{"ca.crt": string(c.CABundle)},
	}
}

// forms returns the object with defaults, in v1 and in the internal version.
func (o object) forms() (versioned, internal runtime.Object, err error) {
	versioned, internal = o.v1.DeepCopyObject(), o.kind.internal()
	o.kind.scheme.Default(versioned)
	return versioned, internal, o.kind.scheme.Convert(versioned, internal, nil)
}

// create creates the object as the handler of a request would.
func (o object) create(ctx context.Context, store storage.Store) error {
	versioned, internal, err := o.forms()
	if err != nil {
		return err
	}
	accessor, err := meta.Accessor(internal)
	if err != nil {
		return err
	}
	rest.FillObjectMetaSystemFields(accessor)
	owned, err := managedFields(versioned, o.kind.resource.Group, o.manager)
	if err != nil {
		return err
	}
	accessor.SetManagedFields(owned)
	ctx = genericapirequest.WithNamespace(ctx, accessor.GetNamespace())
	ctx = genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{
		IsResourceRequest: true, Verb: "create",
		APIGroup: o.kind.resource.Group, APIVersion: "v1", Resource: o.kind.resource.Resource,
		Namespace: accessor.GetNamespace(), Name: accessor.GetName(),
	})
	if err := rest.BeforeCreate(o.kind.strategy, ctx, internal); err != nil {
		return err
	}
	if cidr, ok := internal.(*networking.ServiceCIDR); ok {
		servicecidr.MarkReady(cidr)
	}
	key := store.Key(accessor.GetNamespace(), accessor.GetName())
	err = store.Create(ctx, key, internal, nil, 0)
	if err != nil && errors.Is(rpctypes.Error(err), rpctypes.ErrNoSpace) && exists(ctx, store, o.kind, key) {
		// etcd is out of space, and refuses writes before it compares. An administrator
		// needs a running control plane to free space.
		return apistorage.NewKeyExistsError(key, 0)
	}
	return err
}

func exists(ctx context.Context, store storage.Store, kind *kind, key string) bool {
	return store.Get(ctx, key, apistorage.GetOptions{}, kind.internal()) == nil
}
