// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// dirt is a control plane with clients that change it.
type dirt struct {
	*controlplanetest.ControlPlane
	t           testing.TB
	client      *kubernetes.Clientset
	dynamic     *dynamic.DynamicClient
	definitions *apiextensionsclient.Clientset
}

func newDirt(t testing.TB, cp *controlplanetest.ControlPlane) *dirt {
	config := cp.ClientConfig()
	return &dirt{
		ControlPlane: cp, t: t, client: kubernetes.NewForConfigOrDie(config), dynamic: dynamic.NewForConfigOrDie(config),
		definitions: apiextensionsclient.NewForConfigOrDie(config),
	}
}

// must fails the test with an error.
func (d *dirt) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// create creates the objects of a manifest, and waits until CRDs are served.
func (d *dirt) create(manifest string) (created []*unstructured.Unstructured) {
	d.t.Helper()
	for document := range strings.SplitSeq(manifest, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			d.t.Fatalf("%v in %s", err, document)
		}
		made, err := d.resource(object).Create(d.t.Context(), object, metav1.CreateOptions{})
		if err != nil {
			d.t.Fatalf("create %s %s: %v", object.GetKind(), object.GetName(), err)
		}
		created = append(created, made)
		if object.GetKind() == "CustomResourceDefinition" {
			d.established(object.GetName())
		}
	}
	return created
}

// resource returns the client for the kind of an object, according to current
// discovery.
func (d *dirt) resource(object *unstructured.Unstructured) dynamic.ResourceInterface {
	d.t.Helper()
	groups, err := restmapper.GetAPIGroupResources(d.client.Discovery())
	d.must(err)
	gvk := object.GroupVersionKind()
	mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(gvk.GroupKind(), gvk.Version)
	d.must(err)
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return d.dynamic.Resource(mapping.Resource)
	}
	return d.dynamic.Resource(mapping.Resource).Namespace(cmp.Or(object.GetNamespace(), "default"))
}

// established waits until a CRD is served and in discovery.
func (d *dirt) established(name string) {
	d.t.Helper()
	testwait.True(d.t, "CRD "+name, func() bool {
		definition, err := d.definitions.ApiextensionsV1().CustomResourceDefinitions().Get(d.t.Context(), name, metav1.GetOptions{})
		d.must(err)
		for _, version := range definition.Spec.Versions {
			gvr := schema.GroupVersionResource{Group: definition.Spec.Group, Version: version.Name, Resource: definition.Spec.Names.Plural}
			if !d.discovered(gvr) {
				return false
			}
			if _, err := d.dynamic.Resource(gvr).List(d.t.Context(), metav1.ListOptions{}); err != nil {
				return false
			}
		}
		return slices.ContainsFunc(definition.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
			return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
		})
	})
}

func (d *dirt) discovered(gvr schema.GroupVersionResource) bool {
	list, err := d.client.Discovery().ServerResourcesForGroupVersion(gvr.GroupVersion().String())
	return err == nil && slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == gvr.Resource })
}

// pod returns a minimal pod.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image"}}},
	}
}

// state are the objects of a control plane, without fields that change by themselves.
type state map[string]map[string]any

// state lists every object of every resource in discovery.
func (d *dirt) state() state {
	d.t.Helper()
	found := state{}
	lists, err := d.client.Discovery().ServerPreferredResources()
	d.must(err)
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "get"}}, lists) {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		d.must(err)
		for _, resource := range list.APIResources {
			gvr := gv.WithResource(resource.Name)
			found[gvr.String()] = nil // an API is state too
			objects, err := d.dynamic.Resource(gvr).List(d.t.Context(), metav1.ListOptions{})
			d.must(err)
			for _, object := range objects.Items {
				object.SetResourceVersion("")
				switch gvr.Resource {
				case "events":
					// The event that the address of the Service kubernetes is not
					// allocated may come just before or just after the checkpoint.
					if strings.HasPrefix(object.GetName(), "kubernetes.") {
						continue
					}
				case "leases":
					unstructured.RemoveNestedField(object.Object, "spec")
					object.SetManagedFields(nil)
				case "flowschemas":
					// The API server may have found the flow schemas dangling for a
					// moment.
					unstructured.RemoveNestedField(object.Object, "status")
					object.SetManagedFields(nil)
				}
				found[fmt.Sprintf("%s %s/%s", gvr.GroupResource(), object.GetNamespace(), object.GetName())] = object.Object
			}
		}
	}
	return found
}

// compare fails the test for differences of the states.
func (d *dirt) compare(was, is state) {
	d.t.Helper()
	for _, key := range slices.Sorted(maps.Keys(is)) {
		if _, ok := was[key]; !ok {
			d.t.Errorf("%s is new", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if now, ok := is[key]; !ok {
			d.t.Errorf("%s is gone", key)
		} else if !equality.Semantic.DeepEqual(was[key], now) {
			d.t.Errorf("%s has changed:\n%v\n%v", key, was[key], now)
		}
	}
}

// works requires that the control plane works.
func (d *dirt) works() {
	d.t.Helper()
	ctx := d.t.Context()
	ready, err := d.client.Discovery().RESTClient().Get().AbsPath("/readyz").Param("verbose", "").DoRaw(ctx)
	if err != nil {
		d.t.Fatalf("/readyz: %v: %s", err, ready)
	}
	pods := d.client.CoreV1().Pods("default")
	events, err := pods.Watch(ctx, metav1.ListOptions{})
	d.must(err)
	defer events.Stop()
	_, err = pods.Create(ctx, pod("works"), metav1.CreateOptions{})
	d.must(err)
	d.next(events, watch.Added)
	d.must(pods.Delete(ctx, "works", *metav1.NewDeleteOptions(0)))
	d.next(events, watch.Deleted)

	// Controllers create the objects of a new namespace.
	_, err = d.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "works"}}, metav1.CreateOptions{})
	d.must(err)
	testwait.True(d.t, "service account of a new namespace", func() bool {
		_, err := d.client.CoreV1().ServiceAccounts("works").Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	testwait.True(d.t, "root CA of a new namespace", func() bool {
		_, err := d.client.CoreV1().ConfigMaps("works").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil
	})
}

func (d *dirt) next(events watch.Interface, kind watch.EventType) {
	d.t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for {
		select {
		case event, ok := <-events.ResultChan():
			if !ok {
				d.t.Fatalf("the watch has ended before %s", kind)
			}
			if event.Type == kind {
				return
			}
		case <-timeout.C:
			d.t.Fatalf("the watch has no event %s within a minute", kind)
		}
	}
}

// whole waits for the objects that a new control plane writes just after its start.
func (d *dirt) whole() {
	d.t.Helper()
	testwait.True(d.t, "the objects that follow a start", func() bool {
		for _, name := range []string{"extension-apiserver-authentication", "kube-apiserver-legacy-service-account-token-tracking"} {
			if _, err := d.client.CoreV1().ConfigMaps("kube-system").Get(d.t.Context(), name, metav1.GetOptions{}); err != nil {
				return false
			}
		}
		if _, err := d.client.CoreV1().Services("default").Get(d.t.Context(), "kubernetes", metav1.GetOptions{}); err != nil {
			return false
		}
		_, err := d.client.DiscoveryV1().EndpointSlices("default").Get(d.t.Context(), "kubernetes", metav1.GetOptions{})
		return err == nil // written after the Service and its endpoints
	})
	testwait.True(d.t, "status of flow schemas", func() bool {
		schemas, err := d.client.FlowcontrolV1().FlowSchemas().List(d.t.Context(), metav1.ListOptions{})
		d.must(err)
		for i := range schemas.Items {
			if len(schemas.Items[i].Status.Conditions) == 0 {
				return false
			}
		}
		return true
	})
}

// patch applies a merge patch to an object.
func (d *dirt) patch(gvr schema.GroupVersionResource, namespace, name, patch string) {
	d.t.Helper()
	_, err := d.dynamic.Resource(gvr).Namespace(namespace).Patch(d.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	d.must(err)
}

// remove deletes an object immediately.
func (d *dirt) remove(gvr schema.GroupVersionResource, namespace, name string) {
	d.t.Helper()
	d.must(d.dynamic.Resource(gvr).Namespace(namespace).Delete(d.t.Context(), name, *metav1.NewDeleteOptions(0)))
}
