// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package work is the work of one test, for any kind of cluster.
package work

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// Tests is the number of tests in a package.
	Tests = 20
	// Objects is the number of custom resources that a test reconciles.
	Objects = 10
	// timeout bounds work that takes milliseconds.
	timeout = time.Minute
)

func init() { log.SetLogger(logr.Discard()) }

// Kind returns the kind of a test's custom resources. Each test has another group, so
// tests can share a cluster.
func Kind(test int) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: fmt.Sprintf("test%d.example.com", test), Version: "v1", Kind: "Widget"}
}

// CRD returns the CRD of Kind.
func CRD(test int) *apiextensionsv1.CustomResourceDefinition {
	kind := Kind(test)
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	section := func(field string) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{field: text}}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets." + kind.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: kind.Group,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind.Kind, Plural: "widgets"},
			Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: kind.Version, Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type:       "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": section("text"), "status": section("copiedTo")},
				}},
			}},
		},
	}
}

// Do creates a namespace with custom resources, and runs a controller until all of them
// are reconciled. The CRD of the test must be installed.
func Do(t *testing.T, cluster *rest.Config, test int) {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	c, err := client.NewWithWatch(cluster, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	namespace := fmt.Sprint("test-", test)
	if err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	stop := startController(ctx, t, cluster, Kind(test), namespace)
	defer stop()
	for i := range Objects {
		widget := newWidget(Kind(test))
		widget.SetNamespace(namespace)
		widget.SetName(fmt.Sprint("widget-", i))
		if err := unstructured.SetNestedField(widget.Object, fmt.Sprint("text ", i), "spec", "text"); err != nil {
			t.Fatal(err)
		}
		if err := c.Create(ctx, widget); err != nil {
			t.Fatal(err)
		}
	}
	waitUntilReconciled(ctx, t, c, test, namespace)
}

func waitUntilReconciled(ctx context.Context, t *testing.T, c client.WithWatch, test int, namespace string) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(Kind(test))
	watch, err := c.Watch(ctx, list, client.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	reconciled := map[string]bool{}
	for event := range watch.ResultChan() {
		widget, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			t.Fatalf("watch: %v", event)
		}
		if to, _, _ := unstructured.NestedString(widget.Object, "status", "copiedTo"); to == widget.GetName() {
			reconciled[to] = true
		}
		if len(reconciled) == Objects {
			return
		}
	}
	t.Fatalf("%d of %d objects are reconciled: %v", len(reconciled), Objects, ctx.Err())
}

// startController returns a function that stops the controller and waits for it.
func startController(ctx context.Context, t *testing.T, cluster *rest.Config, kind schema.GroupVersionKind, namespace string) func() {
	many := true
	mgr, err := ctrl.NewManager(cluster, ctrl.Options{
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		Controller: config.Controller{SkipNameValidation: &many},
		Metrics:    metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &reconciler{mgr.GetClient(), kind}
	if err := ctrl.NewControllerManagedBy(mgr).For(newWidget(kind)).Owns(&corev1.ConfigMap{}).Complete(r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func newWidget(kind schema.GroupVersionKind) *unstructured.Unstructured {
	widget := &unstructured.Unstructured{}
	widget.SetGroupVersionKind(kind)
	return widget
}

// reconciler copies the text of each widget to a ConfigMap, and reports it in the status.
type reconciler struct {
	client.Client
	kind schema.GroupVersionKind
}

func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	widget := newWidget(r.kind)
	if err := r.Get(ctx, req.NamespacedName, widget); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	text, _, err := unstructured.NestedString(widget.Object, "spec", "text")
	if err != nil {
		return ctrl.Result{}, err
	}
	copied := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: widget.GetNamespace(), Name: widget.GetName()}}
	_, err = ctrl.CreateOrUpdate(ctx, r.Client, copied, func() error {
		copied.Data = map[string]string{"text": text}
		return ctrl.SetControllerReference(widget, copied, r.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	if to, _, _ := unstructured.NestedString(widget.Object, "status", "copiedTo"); to == copied.Name {
		return ctrl.Result{}, nil
	}
	if err := unstructured.SetNestedField(widget.Object, copied.Name, "status", "copiedTo"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.Status().Update(ctx, widget)
}
