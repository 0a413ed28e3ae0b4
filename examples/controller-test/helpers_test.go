// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllertest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	controllertest "github.com/kubembed/kubembed/examples/controller-test"
	v1 "github.com/kubembed/kubembed/examples/controller-test/v1"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// crds are the CRDs that controller-gen writes to config/crd.
var crds = controlplanetest.CRDs{Paths: []string{"config/crd"}}

func newClient(t *testing.T, cp *controlplanetest.ControlPlane) client.Client {
	t.Helper()
	c, err := client.New(cp.ClientConfig(), client.Options{Scheme: controllertest.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newManager returns a manager that runs beside others in this process.
func newManager(t *testing.T, cp *controlplanetest.ControlPlane, options ctrl.Options) ctrl.Manager {
	t.Helper()
	many := true
	options.Scheme = controllertest.Scheme()
	options.Logger = testr.New(t)
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	options.Controller = config.Controller{SkipNameValidation: &many}
	mgr, err := ctrl.NewManager(cp.ClientConfig(), options)
	if err != nil {
		t.Fatal(err)
	}
	return mgr
}

// start runs the manager until the end of the test.
func start(t *testing.T, mgr ctrl.Manager) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// waitFor calls condition until it returns true and no error.
func waitFor(t *testing.T, what string, condition func() (bool, error)) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		var ok bool
		ok, last = condition()
		return ok && last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v (last error: %v)", what, err, last)
	}
}

func newPage(namespace, title string) *v1.Page {
	return &v1.Page{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: strings.ToLower(title)},
		Spec:       v1.PageSpec{Title: title},
	}
}

// waitForHTML waits until the page is published with text in it.
func waitForHTML(t *testing.T, c client.Client, page *v1.Page, text string) {
	t.Helper()
	key := client.ObjectKey{Namespace: page.Namespace, Name: page.Name + "-page"}
	waitFor(t, "the page is published", func() (bool, error) {
		var published corev1.ConfigMap
		err := c.Get(t.Context(), key, &published)
		return strings.Contains(published.Data["index.html"], text), err
	})
}
