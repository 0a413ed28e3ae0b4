// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package runtimeconfig_test

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	got := runtimeconfig.Normalize(map[string]string{"v1": "a", "v1/pods": "b", "api/v1/nodes": "c", "apps/v1": "d", "api/all": "e"})
	want := map[string]string{"/v1": "a", "/v1/pods": "b", "/v1/nodes": "c", "apps/v1": "d", "api/all": "e"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	if got, want := runtimeconfig.Format(map[string]string{"v1": "true", "api/all": "false"}), "api/all=false,v1=true"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestValidate verifies that resources without which upstream does not work cannot be
// disabled, and that others can.
func TestValidate(t *testing.T) {
	t.Parallel()
	for override, want := range map[string]string{
		"v1/secrets":    "secrets cannot be switched off",
		"v1/namespaces": "namespaces of v1 cannot be switched off",
		"flowcontrol.apiserver.k8s.io/v1/flowschemas": "need each other",
		"v1/podtemplates": "",
		"apps/v1":         "",
	} {
		overrides := map[string]string{override: "false"}
		resources, err := runtimeconfig.Builtin(overrides)
		if err != nil {
			t.Fatal(err)
		}
		err = runtimeconfig.Validate(field.NewPath("RuntimeConfig"), resources, overrides).ToAggregate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", override, err, want)
		}
	}
}

// TestAllDisabled verifies which resources "api/all": "false" leaves on: none that are
// built in, no CustomResourceDefinitions, and APIServices.
func TestAllDisabled(t *testing.T) {
	t.Parallel()
	overrides := map[string]string{"api/all": "false"}
	builtin, err := runtimeconfig.Builtin(overrides)
	if err != nil {
		t.Fatal(err)
	}
	if builtin.ResourceEnabled(corev1.SchemeGroupVersion.WithResource("pods")) {
		t.Error("pods are enabled")
	}
	extensions, err := runtimeconfig.Extensions(overrides)
	if err != nil {
		t.Fatal(err)
	}
	if extensions.ResourceEnabled(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")) {
		t.Error("CustomResourceDefinitions are enabled")
	}
	aggregator, err := runtimeconfig.Aggregator()
	if err != nil {
		t.Fatal(err)
	}
	if !aggregator.AnyResourceForGroupEnabled("apiregistration.k8s.io") {
		t.Error("APIServices are disabled")
	}
}
