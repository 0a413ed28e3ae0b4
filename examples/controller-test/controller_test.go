// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllertest_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	controllertest "github.com/kubembed/kubembed/examples/controller-test"
	v1 "github.com/kubembed/kubembed/examples/controller-test/v1"
	"github.com/kubembed/kubembed/examples/controller-test/v1alpha1"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// startAll starts a control plane of the test's own with the whole program. The test may
// use every namespace.
func startAll(t *testing.T) client.Client {
	t.Helper()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	cp.InstallCRDs(t, crds)
	webhooks := cp.InstallWebhooks(t, controlplanetest.Webhooks{
		Paths:      []string{"config/webhook"},
		Conversion: []string{"pages.site.example.com"},
	})
	mgr := newManager(t, cp, ctrl.Options{WebhookServer: webhook.NewServer(webhook.Options{
		Host:    webhooks.Host,
		Port:    webhooks.Port,
		CertDir: webhooks.CertDir,
	})})
	for _, setup := range []func(ctrl.Manager) error{controllertest.Setup, controllertest.SetupWebhooks} {
		if err := setup(mgr); err != nil {
			t.Fatal(err)
		}
	}
	start(t, mgr)
	webhooks.WaitReady(t)
	return newClient(t, cp)
}

func TestOldVersionIsConverted(t *testing.T) {
	t.Parallel()
	c := startAll(t)
	old := &v1alpha1.Page{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "welcome"},
		Spec:       v1alpha1.PageSpec{Title: "Welcome", Text: "One.\n\nTwo."},
	}
	if err := c.Create(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	var page v1.Page
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(old), &page); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(page.Spec.Paragraphs, "|"); got != "One.|Two." {
		t.Errorf("got paragraphs %q, want One.|Two.", got)
	}
	waitForHTML(t, c, &page, "<p>Two.</p>")
	waitFor(t, "status in the old version", func() (bool, error) {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(old), old)
		return old.Status.ConfigMap == "welcome-page" && old.Spec.Text == "One.\n\nTwo.", err
	})
}

func TestInvalidPageIsRefused(t *testing.T) {
	t.Parallel()
	c := startAll(t)
	page := newPage("default", "Twice")
	page.Spec.Paragraphs = []string{"Once", "Twice"}
	err := c.Create(t.Context(), page)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "spec.paragraphs[1]") {
		t.Errorf("got %v, want the page refused for spec.paragraphs[1]", err)
	}
}

func TestNamespaceIsEmptied(t *testing.T) {
	t.Parallel()
	c := startAll(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "site"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	page := newPage("site", "Short-lived")
	if err := c.Create(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	waitForHTML(t, c, page, "Short-lived")
	if err := c.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the namespace is gone", func() (bool, error) {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}
