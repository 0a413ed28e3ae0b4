// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package controllertest is a controller of controller-runtime for a custom resource with
// two versions and a validating webhook. Copy its tests: controller_test.go. With the
// import of github.com/kubembed/kubembed/pkg/pool/controlplanetest in place of
// pkg/controlplanetest, they pass as they are and link no API server.
package controllertest

import (
	"context"
	"fmt"
	"html"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	v1 "github.com/kubembed/kubembed/examples/controller-test/v1"
	"github.com/kubembed/kubembed/examples/controller-test/v1alpha1"
)

// Scheme returns a scheme with the built-in types and both versions of Page.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// Setup adds the controller to the manager.
func Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1.Page{}).
		Owns(&corev1.ConfigMap{}).
		Complete(&reconciler{mgr.GetClient()})
}

// reconciler updates the ConfigMap of each page.
type reconciler struct{ client.Client }

func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var page v1.Page
	if err := r.Get(ctx, req.NamespacedName, &page); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	published := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: page.Namespace, Name: page.Name + "-page"}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, published, func() error {
		published.Data = map[string]string{"index.html": render(page.Spec)}
		return controllerutil.SetControllerReference(&page, published, r.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("publish: %w", err)
	}
	if page.Status.ConfigMap == published.Name {
		return ctrl.Result{}, nil
	}
	before := page.DeepCopy()
	page.Status.ConfigMap = published.Name
	return ctrl.Result{}, r.Status().Patch(ctx, &page, client.MergeFrom(before))
}

func render(spec v1.PageSpec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(spec.Title))
	for _, paragraph := range spec.Paragraphs {
		fmt.Fprintf(&b, "<p>%s</p>\n", html.EscapeString(paragraph))
	}
	return b.String()
}
