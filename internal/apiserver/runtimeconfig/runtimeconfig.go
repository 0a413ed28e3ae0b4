// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package runtimeconfig applies Config.RuntimeConfig, which enables and disables API
// groups, versions and resources.
package runtimeconfig

import (
	"sort"
	"strings"

	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericfeatures "k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/server/resourceconfig"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
)

// Normalize replaces the spellings of the core group that kube-apiserver accepts by the
// one that upstream's parser knows, as controlplane/apiserver/options.Options.Complete
// does.
func Normalize(in map[string]string) cliflag.ConfigurationMap {
	out := cliflag.ConfigurationMap{}
	for key, value := range in {
		switch {
		case key == "v1" || strings.HasPrefix(key, "v1/"):
			key = "/" + key
		case key == "api/v1" || strings.HasPrefix(key, "api/v1/"):
			key = strings.TrimPrefix(key, "api")
		}
		out[key] = value
	}
	return out
}

// Builtin returns upstream's defaults for the built-in groups with overrides applied.
func Builtin(overrides map[string]string) (*serverstorage.ResourceConfig, error) {
	return resourceconfig.MergeAPIResourceConfigs(controlplane.DefaultAPIResourceConfigSource(), Normalize(overrides), legacyscheme.Scheme)
}

// Validate returns errors for disabled resources without which upstream panics or never
// becomes ready. Errors are at path.
func Validate(path *field.Path, merged *serverstorage.ResourceConfig, overrides map[string]string) (errs field.ErrorList) {
	if !merged.ResourceEnabled(corev1.SchemeGroupVersion.WithResource("secrets")) {
		errs = append(errs, field.Invalid(path, Format(overrides), `v1 and its secrets cannot be switched off: leave "v1" on, with the resources of it that you do not need off, like "v1/podtemplates": "false"`))
	}
	if !merged.ResourceEnabled(corev1.SchemeGroupVersion.WithResource("namespaces")) {
		errs = append(errs, field.Invalid(path, Format(overrides), "namespaces of v1 cannot be switched off: admission waits for them, ten seconds in each write, and refuses it"))
	}
	schemas := merged.ResourceEnabled(flowcontrolv1.SchemeGroupVersion.WithResource("flowschemas"))
	if levels := merged.ResourceEnabled(flowcontrolv1.SchemeGroupVersion.WithResource("prioritylevelconfigurations")); schemas != levels {
		errs = append(errs, field.Invalid(path, Format(overrides), "flowschemas and prioritylevelconfigurations of flowcontrol.apiserver.k8s.io/v1 need each other: switch both of them on or off"))
	}
	// Upstream would register an informer that never syncs.
	if utilfeature.DefaultFeatureGate.Enabled(genericfeatures.CoordinatedLeaderElection) && !merged.ResourceEnabled(coordinationv1beta1.SchemeGroupVersion.WithResource("leasecandidates")) {
		errs = append(errs, field.Invalid(path, Format(overrides), `the feature gate CoordinatedLeaderElection needs LeaseCandidates: set "coordination.k8s.io/v1beta1": "true", or switch the gate off`))
	}
	return errs
}

// Extensions returns upstream's defaults for CustomResourceDefinitions with overrides
// applied.
func Extensions(overrides map[string]string) (*serverstorage.ResourceConfig, error) {
	return resourceconfig.MergeAPIResourceConfigs(
		apiextensionsapiserver.DefaultAPIResourceConfigSource(), Normalize(overrides), apiextensionsapiserver.Scheme)
}

// Aggregator returns upstream's defaults for APIServices. Overrides do not apply: the
// aggregator serves discovery, so that "api/all": "false" leaves its own group enabled.
func Aggregator() (*serverstorage.ResourceConfig, error) {
	return resourceconfig.MergeAPIResourceConfigs(
		aggregatorapiserver.DefaultAPIResourceConfigSource(), nil, aggregatorscheme.Scheme)
}

// Format returns the overrides in one line, sorted by key.
func Format(overrides map[string]string) string {
	var pairs []string
	for k, v := range overrides {
		pairs = append(pairs, k+"="+v)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}
