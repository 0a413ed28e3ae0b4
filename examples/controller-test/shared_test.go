// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllertest_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	controllertest "github.com/kubembed/kubembed/examples/controller-test"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// startInNamespace starts a manager for one namespace of the control plane that the
// package shares.
func startInNamespace(t *testing.T) (client.Client, string) {
	t.Helper()
	cp := controlplanetest.Shared(t)
	cp.InstallCRDs(t, crds)
	namespace := cp.Namespace(t)
	mgr := newManager(t, cp, ctrl.Options{
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
	})
	if err := controllertest.Setup(mgr); err != nil {
		t.Fatal(err)
	}
	start(t, mgr)
	return newClient(t, cp), namespace
}

func TestChangeIsPublished(t *testing.T) {
	t.Parallel()
	c, namespace := startInNamespace(t)
	page := newPage(namespace, "News")
	if err := c.Create(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	waitForHTML(t, c, page, "<title>News</title>")
	patch := client.MergeFrom(page.DeepCopy())
	page.Spec.Paragraphs = []string{"Tea & cake"}
	if err := c.Patch(t.Context(), page, patch); err != nil {
		t.Fatal(err)
	}
	waitForHTML(t, c, page, "<p>Tea &amp; cake</p>")
}

// The garbage collector deletes the ConfigMap by its owner reference.
func TestDeletedPageIsTakenDown(t *testing.T) {
	t.Parallel()
	c, namespace := startInNamespace(t)
	page := newPage(namespace, "Gone")
	if err := c.Create(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	waitForHTML(t, c, page, "Gone")
	if err := c.Delete(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the ConfigMap is collected", func() (bool, error) {
		err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "gone-page"}, &corev1.ConfigMap{})
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}
