// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestBadFilesStartNothing: problems with files are reported before anything starts,
// together with all other problems.
func TestBadFilesStartNothing(t *testing.T) {
	t.Parallel()
	cfg := controlplanetest.Config{
		CRDs:         controlplanetest.CRDs{Paths: []string{"no-crds"}},
		Webhooks:     controlplanetest.Webhooks{Paths: []string{"no-webhooks"}},
		ControlPlane: controlplane.Config{BindAddress: "nonsense", DataDir: filepath.Join(t.TempDir(), "data")},
	}
	var r recorder
	r.run(func(t controlplanetest.TB) { controlplanetest.New(t, cfg) })
	for _, want := range []string{"no-crds", "no-webhooks", "BindAddress"} {
		if !strings.Contains(r.text(), want) {
			t.Errorf("no %q in: %s", want, r.text())
		}
	}
	if _, err := os.Stat(cfg.ControlPlane.DataDir); err == nil {
		t.Error("a control plane was started")
	}
}

// TestFailedNewLeavesNothing: a failed New leaves no file.
func TestFailedNewLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	refused := validating("any", "/")
	refused.Webhooks[0].SideEffects = nil
	crd := controlplanetest.NewCRD(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Foo"}, "foos", apiextensionsv1.NamespaceScoped)
	crd.Spec.Versions[0].Storage = false
	webhooks := func(w controlplanetest.Webhooks) controlplanetest.Config {
		return controlplanetest.Config{Audit: true, Webhooks: w}
	}
	for name, cfg := range map[string]controlplanetest.Config{
		"webhooks that are missing": webhooks(controlplanetest.Webhooks{Paths: []string{"nowhere"}}),
		"webhooks that are refused": webhooks(controlplanetest.Webhooks{Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{refused}}),
		"webhooks that are refused, with a handler": webhooks(controlplanetest.Webhooks{
			Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{refused}, Handler: configMapWebhooks()}),
		"conversion of a missing CRD": webhooks(controlplanetest.Webhooks{Conversion: []string{"nothings.example.com"}}),
		"a CRD that is refused": {Audit: true, Webhooks: controlplanetest.Webhooks{Handler: configMapWebhooks(),
			Validating: []*admissionregistrationv1.ValidatingWebhookConfiguration{validating("any", "/")}},
			CRDs: controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{crd}}},
		"an address that is taken": {Audit: true, ControlPlane: controlplane.Config{BindAddress: taken.Addr().String()}},
	} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			for _, variable := range []string{"TMPDIR", "TMP", "TEMP"} {
				t.Setenv(variable, temp)
			}
			var r recorder
			r.run(func(t controlplanetest.TB) { controlplanetest.New(t, cfg) })
			if !r.failed {
				t.Error("it did not fail")
			}
			if names := leftovers(t, temp); len(names) > 0 {
				t.Errorf("left: %v", names)
			}
		})
	}
}
