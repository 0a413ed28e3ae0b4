// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	flowcontrolbootstrap "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorclientset "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	aggregatorinformers "k8s.io/kube-aggregator/pkg/client/informers/externalversions"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"
	"k8s.io/kubernetes/pkg/controlplane/controller/systemnamespaces"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/ensurer"
	flowcontrolrest "k8s.io/kubernetes/pkg/registry/flowcontrol/rest"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// bootstrapKinds are the kinds of the objects that a start creates: the paths of their
// lists, and the prefixes of their keys in etcd.
var bootstrapKinds = map[string]string{
	"/apis/rbac.authorization.k8s.io/v1/clusterroles":                                            "/registry/clusterroles/",
	"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings":                                     "/registry/clusterrolebindings/",
	"/apis/rbac.authorization.k8s.io/v1/roles":                                                   "/registry/roles/",
	"/apis/rbac.authorization.k8s.io/v1/rolebindings":                                            "/registry/rolebindings/",
	"/apis/scheduling.k8s.io/v1/priorityclasses":                                                 "/registry/priorityclasses/",
	"/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas":                                          "/registry/flowschemas/",
	"/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations":                          "/registry/prioritylevelconfigurations/",
	"/apis/apiregistration.k8s.io/v1/apiservices":                                                "/registry/apiregistration.k8s.io/apiservices/",
	"/api/v1/namespaces":                                                                         "/registry/namespaces/",
	"/api/v1/namespaces/kube-node-lease/serviceaccounts?fieldSelector=metadata.name=default":     "/registry/serviceaccounts/kube-node-lease/",
	"/api/v1/namespaces/kube-node-lease/configmaps?fieldSelector=metadata.name=kube-root-ca.crt": "/registry/configmaps/kube-node-lease/",
}

// bootstrapState returns the objects of these kinds: JSON by kind, namespace and name. It
// omits the status and the metadata that differ between two writes of the same object.
func (p *plane) bootstrapState(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for path := range bootstrapKinds {
		var list unstructured.UnstructuredList
		if err := list.UnmarshalJSON([]byte(p.get(t, path).want(t, 200).body)); err != nil {
			t.Fatal(err)
		}
		for _, object := range list.Items {
			for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp"} {
				unstructured.RemoveNestedField(object.Object, "metadata", field)
			}
			unstructured.RemoveNestedField(object.Object, "status")
			var owners []string
			for _, entry := range object.GetManagedFields() {
				if entry.Subresource == "" {
					owners = append(owners, entry.Manager+" "+string(entry.Operation)+" "+entry.FieldsV1.GetRawString())
				}
			}
			slices.Sort(owners)
			object.SetManagedFields(nil)
			object.Object["owners"] = owners
			content, err := json.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			state[object.GetKind()+" "+object.GetNamespace()+"/"+object.GetName()] = string(content)
		}
	}
	return state
}

// stored returns the values in etcd of these kinds.
func (p *plane) stored(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, prefix := range bootstrapKinds {
		for _, kv := range must(p.etcd.Client().Get(t.Context(), prefix, clientv3.WithPrefix()))(t).Kvs {
			values[string(kv.Key)] = string(kv.Value)
		}
	}
	return values
}

// store restores the values that stored has returned.
func (p *plane) store(t *testing.T, values map[string]string) {
	t.Helper()
	current := p.stored(t)
	for key := range current {
		if _, ok := values[key]; !ok {
			must(p.etcd.Client().Delete(t.Context(), key))(t)
		}
	}
	for key, value := range values {
		if current[key] != value {
			must(p.etcd.Client().Put(t.Context(), key, value))(t)
		}
	}
}

// upstreamBootstrap runs upstream's own code of a kube-apiserver's start over the stored
// data. registered are the APIServices that it registers.
func (p *plane) upstreamBootstrap(t *testing.T, registered []apiregistrationv1.APIService) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testwait.Timeout)
	var running sync.WaitGroup
	factory := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(p.LoopbackConfig()), 0)
	registrations := aggregatorclientset.NewForConfigOrDie(p.LoopbackConfig())
	registrationFactory := aggregatorinformers.NewSharedInformerFactory(registrations, 0)
	defer func() {
		cancel()
		running.Wait()
		factory.Shutdown()
		registrationFactory.Shutdown()
	}()

	_, roles, err := rbacrest.RESTStorageProvider{}.PostStartHook()
	if err != nil {
		t.Fatal(err)
	}
	_, classes, err := schedulingrest.RESTStorageProvider{}.PostStartHook()
	if err != nil {
		t.Fatal(err)
	}
	_, flows, err := flowcontrolrest.RESTStorageProvider{InformerFactory: factory}.PostStartHook()
	if err != nil {
		t.Fatal(err)
	}
	namespaces := systemnamespaces.NewController([]string{"kube-system", "kube-public", "kube-node-lease", "default"},
		kubernetes.NewForConfigOrDie(p.LoopbackConfig()), factory.Core().V1().Namespaces())
	services := autoregister.NewAutoRegisterController(registrationFactory.Apiregistration().V1().APIServices(), registrations.ApiregistrationV1())
	for i := range registered {
		services.AddAPIServiceToSyncOnStart(&registered[i])
	}
	factory.Start(ctx.Done())
	registrationFactory.Start(ctx.Done())
	running.Go(func() { namespaces.Run(ctx.Done()) })
	running.Go(func() { services.Run(5, ctx.Done()) })
	var hooks sync.WaitGroup
	for name, hook := range map[string]genericapiserver.PostStartHookFunc{
		"roles": roles, "our roles": apiserver.OwnRBACPolicy().EnsureRBACPolicy(), "priority classes": classes, "flow control": flows,
	} {
		hooks.Go(func() {
			if err := hook(genericapiserver.PostStartHookContext{LoopbackClientConfig: p.LoopbackConfig(), Context: ctx}); err != nil {
				t.Errorf("upstream's %s: %v", name, err)
			}
		})
	}
	hooks.Wait()
	// The two controllers do not report when they have synced.
	testwait.Until(t, "upstream's controllers", func(context.Context) error {
		for i := range registered {
			if _, err := registrations.ApiregistrationV1().APIServices().Get(ctx, registered[i].Name, metav1.GetOptions{}); err != nil {
				return err
			}
		}
		_, err := kubernetes.NewForConfigOrDie(p.LoopbackConfig()).CoreV1().Namespaces().Get(ctx, "kube-node-lease", metav1.GetOptions{})
		return err
	})
	p.flowControlEnsured(t)
}

// flowControlEnsured waits until upstream's ensurer has no more changes to make. The
// ensurer leaves an object whose status changes at the same time to its next pass, and
// reports that it has ensured all objects.
func (p *plane) flowControlEnsured(t *testing.T) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(p.LoopbackConfig()).FlowcontrolV1()
	testwait.Until(t, "flow control", func(context.Context) error {
		levels, err := client.PriorityLevelConfigurations().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		schemas, err := client.FlowSchemas().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		return errors.Join(
			ensured(ensurer.NewPriorityLevelConfigurationOps(nil, nil), levels.Items,
				flowcontrolbootstrap.MandatoryPriorityLevelConfigurations, flowcontrolbootstrap.SuggestedPriorityLevelConfigurations),
			ensured(ensurer.NewFlowSchemaOps(nil, nil), schemas.Items,
				flowcontrolbootstrap.MandatoryFlowSchemas, flowcontrolbootstrap.SuggestedFlowSchemas))
	})
}

// ensured returns an error if upstream's ensurer would create, update or delete an
// object.
func ensured[T any, P interface {
	*T
	comparable
	metav1.Object
	runtime.Object
}](ops ensurer.ObjectOps[P], stored []T, mandatory, suggested []P) error {
	current := map[string]P{}
	for i := range stored {
		object := P(&stored[i])
		current[object.GetName()] = object
	}
	for strategy, objects := range map[ensurer.EnsureStrategy[P]][]P{
		ensurer.NewMandatoryEnsureStrategy[P](): mandatory, ensurer.NewSuggestedEnsureStrategy[P](): suggested,
	} {
		for _, object := range objects {
			found, ok := current[object.GetName()]
			if !ok {
				return fmt.Errorf("%T %s is missing", object, object.GetName())
			}
			if _, revise, err := strategy.ReviseIfNeeded(ops, found, object); err != nil || revise {
				return fmt.Errorf("%T %s is not up to date (%v)", object, object.GetName(), err)
			}
			delete(current, object.GetName())
		}
	}
	for name, object := range current {
		if object.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey] == "true" {
			return fmt.Errorf("%T %s is not deleted", object, name)
		}
	}
	return nil
}

// registered returns the APIServices that a start registers.
func (p *plane) registered(t *testing.T) (registered []apiregistrationv1.APIService) {
	t.Helper()
	list := must(aggregatorclientset.NewForConfigOrDie(p.LoopbackConfig()).ApiregistrationV1().APIServices().List(t.Context(), metav1.ListOptions{}))(t)
	for _, service := range list.Items {
		registered = append(registered, apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: service.Name}, Spec: service.Spec})
	}
	return registered
}

// differences returns the names of the objects that differ.
func differences(got, want map[string]string) (all []string) {
	names := maps.Clone(got)
	maps.Copy(names, want)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if got[name] != want[name] {
			all = append(all, name)
		}
	}
	return all
}
