package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/apis/rbac"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"

	"github.com/kubembed/kubembed/internal/storage"
)

// bootstrapWriters is how many objects are written at once. With fsync on,
// concurrent writers share their fsyncs.
const bootstrapWriters = 16

// bootstrapObject is one of the objects that upstream's controllers and hooks
// create in the first second of a cluster's life.
type bootstrapObject struct {
	kind    *bootstrapKind
	object  runtime.Object // what to store, in its v1 form
	manager string         // in managedFields
}

// bootstrapKind is how upstream stores objects of a kind.
type bootstrapKind struct {
	resource schema.GroupResource
	strategy rest.RESTCreateStrategy
	scheme   *runtime.Scheme
	internal func() runtime.Object // an empty object of the internal version
}

var (
	namespaceKind = &bootstrapKind{core.Resource("namespaces"), namespace.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &core.Namespace{} }}
	serviceAccountKind = &bootstrapKind{core.Resource("serviceaccounts"), serviceaccount.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &core.ServiceAccount{} }}
	configMapKind = &bootstrapKind{core.Resource("configmaps"), configmap.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &core.ConfigMap{} }}
	priorityClassKind = &bootstrapKind{scheduling.Resource("priorityclasses"), priorityclass.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &scheduling.PriorityClass{} }}
	clusterRoleKind = &bootstrapKind{rbac.Resource("clusterroles"), clusterrole.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &rbac.ClusterRole{} }}
	clusterRoleBindingKind = &bootstrapKind{rbac.Resource("clusterrolebindings"), clusterrolebinding.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &rbac.ClusterRoleBinding{} }}
	roleKind = &bootstrapKind{rbac.Resource("roles"), role.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &rbac.Role{} }}
	roleBindingKind = &bootstrapKind{rbac.Resource("rolebindings"), rolebinding.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &rbac.RoleBinding{} }}
	priorityLevelKind = &bootstrapKind{flowcontrol.Resource("prioritylevelconfigurations"), prioritylevelconfiguration.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &flowcontrol.PriorityLevelConfiguration{} }}
	flowSchemaKind = &bootstrapKind{flowcontrol.Resource("flowschemas"), flowschema.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &flowcontrol.FlowSchema{} }}
	serviceCIDRKind = &bootstrapKind{networking.Resource("servicecidrs"), servicecidr.Strategy, legacyscheme.Scheme,
		func() runtime.Object { return &networking.ServiceCIDR{} }}
	apiServiceKind = &bootstrapKind{apiregistration.Resource("apiservices"), apiservice.NewStrategy(aggregatorscheme.Scheme), aggregatorscheme.Scheme,
		func() runtime.Object { return &apiregistration.APIService{} }}
)

// bootstrapObjects are the system namespaces, upstream's RBAC policy, priority
// classes and flow control, the range of Service IPs, the registrations of
// the built-in groups with the aggregator, and what Config.Controllers would
// give the namespaces.
func (s *Server) bootstrapObjects() []bootstrapObject {
	var all []bootstrapObject
	addAs := func(manager string, kind *bootstrapKind, object runtime.Object) {
		all = append(all, bootstrapObject{kind, object, manager})
	}
	add := func(kind *bootstrapKind, object runtime.Object) { addAs(serverManager, kind, object) }
	for _, name := range systemNamespaces {
		add(namespaceKind, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if s.config.Controllers {
			addAs(controllersManager, serviceAccountKind, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}})
			addAs(controllersManager, configMapKind, s.rootCA(name))
		}
	}
	for _, class := range schedulingv1.SystemPriorityClasses() {
		add(priorityClassKind, class)
	}
	policy := rbacPolicy()
	if s.config.Controllers {
		aggregateClusterRoles(policy.ClusterRoles)
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
	add(serviceCIDRKind, defaultServiceCIDRObject(s.config.ServiceCIDR))
	for gv, priority := range groupPriorities() {
		if !s.serves(gv) {
			continue
		}
		add(apiServiceKind, &apiregistrationv1.APIService{
			// As the autoregistration controller would label it; it keeps
			// them up to date from here on.
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

// rootCA is what upstream's controller publishes in every namespace.
func (s *Server) rootCA(namespace string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   namespace,
			Name:        rootcacertpublisher.RootCACertConfigMapName,
			Annotations: map[string]string{rootcacertpublisher.DescriptionAnnotation: rootcacertpublisher.Description},
		},
		Data: map[string]string{"ca.crt": string(s.config.PKI.CABundle())},
	}
}

// serves tells whether a server behind the aggregator has the group version.
func (s *Server) serves(gv schema.GroupVersion) bool {
	path := "/apis/" + gv.Group + "/" + gv.Version
	if gv.Group == "" {
		path = "/api/" + gv.Version
	}
	return slices.Contains(s.builtinPaths, path)
}

// seed writes what is missing of the bootstrap objects straight through
// storage, before anything is served: upstream's own hooks poll with a second
// between tries, and readiness would wait for them. Defaults, strategies and
// validation are upstream's. It reports whether everything was new.
//
// It writes no RBAC object if there are any. An operator may have deleted the missing ones,
// an older release may not have had them, and a killed start may not have written them:
// reconcileRBAC creates them, some as copies of existing ones.
func (s *Server) seed(ctx context.Context) (fresh bool, err error) {
	var stored storedBefore
	looking, lookCtx := errgroup.WithContext(ctx)
	looking.Go(func() error { return s.checkServiceCIDR(lookCtx) })
	looking.Go(func() (err error) {
		stored, err = s.lookBefore(lookCtx)
		return err
	})
	if err := looking.Wait(); err != nil {
		return false, err
	}
	var existing atomic.Bool
	existing.Store(stored.rbac)
	group, creating := errgroup.WithContext(ctx)
	group.SetLimit(bootstrapWriters)
	for _, o := range s.bootstrapObjects() {
		if stored.leaves(o) {
			continue
		}
		store, err := s.backend.Store(o.kind.resource)
		if err != nil {
			continue // switched off by Config.RuntimeConfig
		}
		group.Go(func() error {
			err := o.create(creating, store)
			if apistorage.IsExist(err) || apierrors.IsAlreadyExists(err) {
				existing.Store(true)
				err = s.repair(creating, store, o)
			}
			switch {
			case apierrors.IsNotFound(err), apistorage.IsNotFound(err): // deleted by another server
				return nil
			case err != nil:
				return fmt.Errorf("apiserver: bootstrap %s: %w", o.kind.resource, err)
			}
			return nil
		})
	}
	err = group.Wait()
	fresh = !existing.Load()
	if err == nil && !fresh {
		err = s.freeServiceAddress(ctx)
	}
	return fresh, err
}

// forms returns what to store with defaults, in its v1 and in its internal form.
func (o bootstrapObject) forms() (versioned, internal runtime.Object, err error) {
	versioned, internal = o.object.DeepCopyObject(), o.kind.internal()
	o.kind.scheme.Default(versioned)
	return versioned, internal, o.kind.scheme.Convert(versioned, internal, nil)
}

// key is that of the object in etcd.
func (o bootstrapObject) key(store storage.Store, object metav1.Object) string {
	return store.Key(object.GetNamespace(), object.GetName())
}

func (o bootstrapObject) create(ctx context.Context, store storage.Store) error {
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
		markReady(cidr)
	}
	key := o.key(store, accessor)
	err = store.Create(ctx, key, internal, nil, 0)
	if err != nil && errors.Is(rpctypes.Error(err), rpctypes.ErrNoSpace) && exists(ctx, store, o.kind, key) {
		// etcd has no room for writes, and refuses this one before it looks. Whoever
		// makes room needs a control plane that starts.
		return apistorage.NewKeyExistsError(key, 0)
	}
	return err
}

func exists(ctx context.Context, store storage.Store, kind *bootstrapKind, key string) bool {
	return store.Get(ctx, key, apistorage.GetOptions{}, kind.internal()) == nil
}
