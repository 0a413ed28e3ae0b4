// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Admission configures the admission plugins.
type Admission struct {
	// Configuration has the configurations of plugins, like PodSecurity and
	// EventRateLimit. It cannot be set together with ConfigurationFile.
	Configuration *apiserverv1.AdmissionConfiguration
	// ConfigurationFile is the path of a file with an AdmissionConfiguration. See
	// kube-apiserver's --admission-control-config-file.
	ConfigurationFile string
	// Plugins are the host's own.
	Plugins []AdmissionPlugin
}

// AdmissionPlugin is an admission plugin of the host's own.
type AdmissionPlugin struct {
	// Name is unique among all plugins.
	Name string
	// New returns the plugin: an admission.MutationInterface, an
	// admission.ValidationInterface, or both. It is called once for each server.
	// Initialization is as for upstream's plugins: what the plugin implements of
	// k8s.io/apiserver/pkg/admission/initializer gets the client, informers, authorizer,
	// feature gates and REST mapper.
	New func() (admission.Interface, error)
	// Before is the name of the plugin that it is called before. If empty, it is called
	// before the webhooks: MutatingAdmissionPolicy.
	Before string
}

// Clone returns a deep copy, except of the plugins.
func (a Admission) Clone() Admission {
	a.Configuration = a.Configuration.DeepCopy()
	a.Plugins = slices.Clone(a.Plugins)
	return a
}

func (a Admission) validate(at *field.Path) (errs field.ErrorList) {
	return errs
}

func (c Config) validateAdmission() field.ErrorList {
	var errs field.ErrorList
	known := sets.New(kubeoptions.AllOrderedPlugins...)
	check := func(name string, plugins []string) {
		for i, plugin := range plugins {
			if !known.Has(plugin) {
				errs = append(errs, field.NotSupported(field.NewPath(name).Index(i), plugin, sets.List(known)))
			}
		}
	}
	for i, plugin := range c.EnableAdmissionPlugins {
		if slices.Contains(configuredPlugins, plugin) {
			errs = append(errs, field.Invalid(field.NewPath("EnableAdmissionPlugins").Index(i), plugin, "does not work without a configuration file of its own, for which there is no field: leave it out"))
		}
	}
	check("EnableAdmissionPlugins", c.EnableAdmissionPlugins)
	check("DisableAdmissionPlugins", c.DisableAdmissionPlugins)
	if both := sets.New(c.EnableAdmissionPlugins...).Intersection(sets.New(c.DisableAdmissionPlugins...)); both.Len() > 0 {
		errs = append(errs, fieldpath.Detail(field.Invalid(field.NewPath("DisableAdmissionPlugins"), sets.List(both), ""),
			"also in %s: take them out of one", fieldpath.Name("EnableAdmissionPlugins")))
	}
	return errs
}
