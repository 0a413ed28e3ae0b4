// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	upstreamadmission "k8s.io/apiserver/pkg/admission"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"

	"github.com/kubembed/kubembed/internal/apiserver/admission"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Admission configures the admission plugins. Its zero value gives all plugins their
// defaults.
type Admission struct {
	// Configuration has the configurations of upstream's plugins: EventRateLimit,
	// ImagePolicyWebhook, MutatingAdmissionPolicy, MutatingAdmissionWebhook,
	// PodNodeSelector, PodSecurity, PodTolerationRestriction, ResourceQuota,
	// ValidatingAdmissionPolicy and ValidatingAdmissionWebhook. PluginConfiguration makes
	// one from a Go value. A Path is relative to the working directory. If nil, the
	// plugins have their defaults. It cannot be set together with ConfigurationFile.
	//
	// A configuration does not enable its plugin: see EnableAdmissionPlugins. The
	// configuration of a plugin that is not enabled has no effect, and is logged as a
	// warning. Kubeconfigs with secrets, and the files of keys and tokens that they name,
	// must not be readable by all users of the machine.
	//
	// All files are read when the server is made, and later changes have no effect. The
	// manifests in a staticManifestsDir are the exception: upstream reads them again when
	// they change. If they are invalid, it logs an error, keeps the old ones, and counts
	// the failure in the metric
	// apiserver_manifest_admission_config_controller_automatic_reloads_total. Other users
	// of the machine must not be able to write there: the directory may be that of a
	// ConfigMap in a container, since it is mounted read-only.
	Configuration *apiserverv1.AdmissionConfiguration
	// ConfigurationFile is the path of a file with an AdmissionConfiguration, of
	// apiserver.config.k8s.io/v1 or v1alpha1, in YAML or JSON. Paths in it are relative
	// to its directory. See kube-apiserver's --admission-control-config-file. If empty,
	// there is none.
	ConfigurationFile string
	// Plugins are the host's own. They are enabled unless DisableAdmissionPlugins has
	// their names.
	Plugins []AdmissionPlugin
}

// AdmissionPlugin is an admission plugin of the host's own. Upstream calls it like its
// own plugins: objects have their internal types, Attributes.IsDryRun reports dry runs,
// and a mutating plugin sees an object again if a webhook or a policy has changed it.
// Nobody owns the added fields in managedFields. Upstream's admission metrics count the
// calls by Name.
//
// Plugins do not see the server's own writes before Start returns and after Stop begins,
// and never see its writes of the endpoints of the kubernetes Service.
//
// If a call panics or does not return in time, its request fails: see the package
// documentation. The context of the call ends at that time, or when the client is gone. A
// plugin that ignores its context keeps a goroutine. Stop waits for it for ten seconds,
// and returns an error with the plugin's name. Goroutines that a plugin starts itself are
// not protected.
//
// A plugin must not change objects from the informers and listers that it gets, as always
// with client-go: the server authorizes and admits by the same objects, and pods share
// the memory of the watch cache, so that clients would get the change. Copy them first.
// If an event handler or an index function of the plugin panics, the log has its name,
// and the informer goes on. The server starts the informers in Start and ends them in
// Stop, whatever the plugin does with the factory. Before Start, HasSynced returns false.
type AdmissionPlugin struct {
	// Name is unique among all plugins. It is a name like CostCentre, or with a domain,
	// example.com/CostCentre.
	Name string
	// New returns the plugin: an admission.MutationInterface, an
	// admission.ValidationInterface, or both. It is called once for each server, by
	// apiserver.New.
	//
	// New and the initialization must return within a minute each, and before the context
	// of controlplane.Start ends. Otherwise the server is not made, and the error names
	// the plugin, as for one that panics or ends its goroutine.
	//
	// The plugin is then initialized as upstream's are. For each interface of
	// k8s.io/apiserver/pkg/admission/initializer that it implements, it gets the clients,
	// informers, authorizer, feature gates, effective version, REST mapper, or the
	// channel that is closed when no request is in flight any more. At last
	// ValidateInitialization is called. The authorizer works after apiserver.New. The
	// first calls may come before the informers have synced: see WaitForReady of
	// admission.Handler.
	//
	// Calls are concurrent. Handles must return at once: if it blocks or panics, so does
	// the call. An error of a call refuses the
	// request, with the error's HTTP status: admission.NewForbidden has 403, an error
	// without a status has 500.
	New func() (upstreamadmission.Interface, error)
	// Before is the name of another plugin, upstream's or the host's, and this plugin is
	// called before that one. Plugins with the same Before are called in the order of
	// Plugins. All mutating calls come before all validating ones. If empty, it is
	// MutatingAdmissionPolicy, the first one of the policies and webhooks.
	Before string
}

// PluginConfiguration returns the configuration of the admission plugin with this name.
// The value is a Go type of the plugin's configuration, with or without its APIVersion
// and Kind, such as *PodSecurityConfiguration of
// k8s.io/pod-security-admission/admission/api/v1. For ImagePolicyWebhook and
// PodNodeSelector, whose configurations are no API types, it is any value that JSON
// encodes as them.
func PluginConfiguration(name string, value any) (apiserverv1.AdmissionPluginConfiguration, error) {
	raw, err := admission.Encode(value)
	if err != nil {
		return apiserverv1.AdmissionPluginConfiguration{}, fmt.Errorf("apiserver: configuration of the admission plugin %s: %w", name, err)
	}
	return apiserverv1.AdmissionPluginConfiguration{Name: name, Configuration: &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}}, nil
}

// Clone returns a deep copy, except of the plugins' functions.
func (a Admission) Clone() Admission {
	a.Configuration = a.Configuration.DeepCopy()
	a.Plugins = slices.Clone(a.Plugins)
	return a
}

// defaultBefore is the first plugin that works with what the clients have defined.
const defaultBefore = mutatingpolicy.PluginName

// order returns the names of all plugins in the order of their calls. unplaced are the
// indices of Plugins whose Before leads nowhere.
func (a Admission) order() (names []string, unplaced []int) {
	var placements []admission.Placement
	for _, plugin := range a.Plugins {
		if plugin.Before == "" {
			plugin.Before = defaultBefore
		}
		placements = append(placements, admission.Placement{Name: plugin.Name, Before: plugin.Before})
	}
	return admission.Order(kubeoptions.AllOrderedPlugins, placements)
}

func (a Admission) names() (names []string) {
	for _, plugin := range a.Plugins {
		names = append(names, plugin.Name)
	}
	return names
}

// load reads the configuration of upstream's plugins. enabled are the plugins that are.
func (a Admission) load(at *field.Path, enabled []string) (*admission.Configuration, field.ErrorList) {
	if a.ConfigurationFile != "" {
		return admission.FromFile(at.Child("ConfigurationFile"), a.ConfigurationFile, enabled)
	}
	return admission.FromObject(at.Child("Configuration"), a.Configuration)
}

func (a Admission) validate(at *field.Path) (errs field.ErrorList) {
	if a.Configuration != nil && a.ConfigurationFile != "" {
		errs = append(errs, fieldpath.Detail(field.Forbidden(at.Child("ConfigurationFile"), ""),
			"%s is set too: take out one of them", fieldpath.NameOf(at.Child("Configuration"))))
	}
	upstream := sets.New(kubeoptions.AllOrderedPlugins...)
	seen := sets.New[string]()
	for i, plugin := range a.Plugins {
		path := at.Child("Plugins").Index(i)
		switch {
		case plugin.Name == "":
			errs = append(errs, field.Required(path.Child("Name"), "the name of the plugin, such as CostCentre"))
		case upstream.Has(plugin.Name):
			errs = append(errs, field.Invalid(path.Child("Name"), plugin.Name, "is the name of a plugin of Kubernetes: choose another"))
		case seen.Has(plugin.Name):
			errs = append(errs, field.Duplicate(path.Child("Name"), plugin.Name))
		default:
			for _, problem := range validation.IsQualifiedName(plugin.Name) {
				errs = append(errs, field.Invalid(path.Child("Name"), plugin.Name, problem))
			}
		}
		seen.Insert(plugin.Name)
		if plugin.New == nil {
			errs = append(errs, field.Required(path.Child("New"), "the function that returns the plugin"))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	names, unplaced := a.order()
	for _, i := range unplaced {
		path, before := at.Child("Plugins").Index(i).Child("Before"), a.Plugins[i].Before
		if slices.Contains(a.names(), before) {
			errs = append(errs, field.Invalid(path, before, "leads back to the plugin itself, or to a plugin without a place: choose another"))
		} else {
			errs = append(errs, field.NotSupported(path, before, names))
		}
	}
	return errs
}

func (c Config) validateAdmission() field.ErrorList {
	errs := c.Admission.validate(field.NewPath("Admission"))
	known := sets.New(kubeoptions.AllOrderedPlugins...).Insert(c.Admission.names()...)
	check := func(name string, plugins []string) {
		for i, plugin := range plugins {
			if !known.Has(plugin) {
				errs = append(errs, field.NotSupported(field.NewPath(name).Index(i), plugin, sets.List(known)))
			}
		}
	}
	check("EnableAdmissionPlugins", c.EnableAdmissionPlugins)
	check("DisableAdmissionPlugins", c.DisableAdmissionPlugins)
	if both := sets.New(c.EnableAdmissionPlugins...).Intersection(sets.New(c.DisableAdmissionPlugins...)); both.Len() > 0 {
		errs = append(errs, fieldpath.Detail(field.Invalid(field.NewPath("DisableAdmissionPlugins"), sets.List(both), ""),
			"also in %s: take them out of one", fieldpath.Name("EnableAdmissionPlugins")))
	}
	if len(errs) > 0 {
		return errs
	}
	_, errs = c.admissionConfiguration()
	return errs
}

// admissionConfiguration returns the configuration of upstream's plugins, and its errors.
func (c Config) admissionConfiguration() (*admission.Configuration, field.ErrorList) {
	enabled := c.enabledAdmissionPlugins()
	configuration, errs := c.Admission.load(field.NewPath("Admission"), enabled)
	if len(errs) > 0 {
		return nil, errs
	}
	for i, plugin := range c.EnableAdmissionPlugins {
		if slices.Contains(configuredPlugins, plugin) && !configuration.Has(plugin) {
			errs = append(errs, fieldpath.Detail(field.Invalid(field.NewPath("EnableAdmissionPlugins").Index(i), plugin, ""),
				"does not work without a configuration: add one to %s, or leave it out",
				fieldpath.OneOf{"Admission.Configuration", "Admission.ConfigurationFile"}))
		}
	}
	return configuration, append(errs, configuration.Validate(enabled, c.Admission.names())...)
}

// enabledAdmissionPlugins returns the plugins that are enabled, in the order of their
// calls.
func (c Config) enabledAdmissionPlugins() []string {
	enable, disable := c.admissionPlugins()
	off := kubeoptions.DefaultOffAdmissionPlugins().Insert(disable...).Delete(enable...)
	names, _ := c.Admission.order()
	return slices.DeleteFunc(names, off.Has)
}
