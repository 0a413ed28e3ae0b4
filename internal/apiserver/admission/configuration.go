// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	webhookconfig "k8s.io/apiserver/pkg/admission/plugin/webhook/config"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	apiserverapi "k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	apiserverv1alpha1 "k8s.io/apiserver/pkg/apis/apiserver/v1alpha1"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	"k8s.io/kubernetes/plugin/pkg/admission/imagepolicy"

	"github.com/kubembed/kubembed/internal/ownership"
)

const configurationKind = "AdmissionConfiguration"

var (
	configScheme = runtime.NewScheme()
	configCodecs = serializer.NewCodecFactory(configScheme, serializer.EnableStrict)
)

func init() {
	utilruntime.Must(apiserverapi.AddToScheme(configScheme))
	utilruntime.Must(apiserverv1.AddToScheme(configScheme))
	utilruntime.Must(apiserverv1alpha1.AddToScheme(configScheme))
}

// Configuration is an AdmissionConfiguration whose files have been read: upstream ends
// the process if it cannot read the file of a plugin. A nil Configuration is empty.
type Configuration struct{ plugins []pluginConfiguration }

// pluginConfiguration is the configuration of one plugin.
type pluginConfiguration struct {
	name string
	data []byte // JSON or YAML; nil for a plugin that is only named
	at   pluginPath
}

// pluginPath is the place of a plugin's configuration, for errors.
type pluginPath struct {
	*field.Path         // of the field
	file, inFile string // the file in the field, and the place in it, if it is a file
}

func (p pluginPath) invalid(name string, err error) *field.Error {
	if p.file != "" {
		return field.Invalid(p.Path, p.file, fmt.Sprintf("%s: %v", p.inFile, err))
	}
	return field.Invalid(p.Path, name, err.Error())
}

// FromObject reads a configuration. at is the path of its field.
func FromObject(at *field.Path, c *apiserverv1.AdmissionConfiguration) (*Configuration, field.ErrorList) {
	if c == nil {
		return nil, nil
	}
	var errs field.ErrorList
	if want := apiserverv1.SchemeGroupVersion.String(); c.APIVersion != "" && c.APIVersion != want {
		errs = append(errs, field.NotSupported(at.Child("APIVersion"), c.APIVersion, []string{want}))
	}
	if c.Kind != "" && c.Kind != configurationKind {
		errs = append(errs, field.NotSupported(at.Child("Kind"), c.Kind, []string{configurationKind}))
	}
	config := &Configuration{}
	for i, plugin := range c.Plugins {
		path := at.Child("Plugins").Index(i)
		data, err := read(plugin.Configuration, plugin.Path, "")
		if err != nil {
			errs = append(errs, field.Invalid(path.Child("Path"), plugin.Path, err.Error()))
		}
		config.plugins = append(config.plugins, pluginConfiguration{plugin.Name, data, pluginPath{Path: path}})
	}
	return config, errs
}

// FromFile reads the configuration in a file. at is the path of the field with the file's
// name. enabled are the plugins that are enabled: the file may be a configuration of one
// of two of them, in a format from before AdmissionConfiguration.
func FromFile(at *field.Path, file string, enabled []string) (*Configuration, field.ErrorList) {
	invalid := func(err error) field.ErrorList { return field.ErrorList{field.Invalid(at, file, err.Error())} }
	if err := ownership.File(file); err != nil {
		return nil, invalid(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, invalid(fmt.Errorf("the file cannot be read: %w", err))
	}
	config := &Configuration{}
	add := func(name string, data []byte, inFile string) {
		config.plugins = append(config.plugins, pluginConfiguration{name, data, pluginPath{at, file, inFile}})
	}
	decoded, err := runtime.Decode(configCodecs.UniversalDecoder(), data)
	if err != nil {
		// It reads the old formats, and returns better errors. Without an
		// AdmissionConfiguration there are no paths that it could fail to read.
		old, err := admission.ReadAdmissionConfiguration(enabled, file, configScheme)
		if err != nil {
			return nil, invalid(err)
		}
		for _, name := range enabled {
			reader, err := old.ConfigFor(name)
			if err != nil {
				return nil, invalid(err)
			}
			if reader != nil {
				if data, err = io.ReadAll(reader); err != nil {
					return nil, invalid(err)
				}
				add(name, data, name)
			}
		}
		return config, nil
	}
	c, ok := decoded.(*apiserverapi.AdmissionConfiguration)
	if !ok {
		return nil, invalid(fmt.Errorf("it is a %T, and must be an %s of %s", decoded, configurationKind, apiserverv1.SchemeGroupVersion))
	}
	var errs field.ErrorList
	for i, plugin := range c.Plugins {
		data, err := read(plugin.Configuration, plugin.Path, filepath.Dir(file))
		add(plugin.Name, data, fmt.Sprintf("plugins[%d] (%s)", i, plugin.Name))
		if err != nil {
			errs = append(errs, config.plugins[i].at.invalid(plugin.Name, err))
		}
	}
	return config, errs
}

// read returns the configuration of a plugin, which is embedded or in a file.
func read(embedded *runtime.Unknown, path, dir string) ([]byte, error) {
	switch {
	case embedded != nil:
		return embedded.Raw, nil
	case path == "":
		return nil, nil
	case !filepath.IsAbs(path):
		path = filepath.Join(dir, path)
	}
	if err := ownership.File(path); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", err)
	}
	return data, nil
}

// Has reports whether the configuration names a plugin.
func (c *Configuration) Has(name string) bool { return c.find(name) != nil }

func (c *Configuration) find(name string) *pluginConfiguration {
	if c != nil {
		for i := range c.plugins {
			if c.plugins[i].name == name {
				return &c.plugins[i]
			}
		}
	}
	return nil
}

// Path returns the field of a plugin's configuration, and the place in its file if it is
// a file. It is nil if the plugin has no configuration.
func (c *Configuration) Path(name string) (path *field.Path, inFile string) {
	found := c.find(name)
	if found == nil {
		return nil, ""
	}
	if found.at.file != "" {
		inFile = found.at.file + ": " + found.at.inFile
	}
	return found.at.Path, inFile
}

// Disabled returns the plugins that have a configuration and are not enabled.
func (c *Configuration) Disabled(enabled []string) (names []string) {
	if c == nil {
		return nil
	}
	for _, plugin := range c.plugins {
		if !slices.Contains(enabled, plugin.name) {
			names = append(names, plugin.name)
		}
	}
	return names
}

// Validate returns the errors of the configurations of enabled plugins, and of names:
// host are the host's own plugins, which have no configuration.
func (c *Configuration) Validate(enabled, host []string) (errs field.ErrorList) {
	if c == nil {
		return nil
	}
	plugins := kubeoptions.NewAdmissionOptions().GenericAdmission.Plugins
	known := sets.New(kubeoptions.AllOrderedPlugins...)
	seen := sets.New[string]()
	for _, plugin := range c.plugins {
		invalid := func(format string, args ...any) {
			errs = append(errs, plugin.at.invalid(plugin.name, fmt.Errorf(format, args...)))
		}
		switch {
		case seen.Has(plugin.name):
			invalid("the plugin has two configurations: remove one")
		case slices.Contains(host, plugin.name):
			invalid("it is a plugin of the host, which has no configuration: configure it where the host makes it")
		case !known.Has(plugin.name):
			invalid("there is no such plugin; the plugins are %q", sets.List(known))
		case slices.Contains(enabled, plugin.name):
			if err := plugin.check(plugins); err != nil {
				invalid("%w", err)
			}
		}
		seen.Insert(plugin.name)
	}
	return errs
}

// Write writes the configuration to files in dir, for upstream, which takes nothing else.
// It returns the name of the file with the AdmissionConfiguration, or "" if the
// configuration is empty. Plugins that are not enabled are left out: their names and
// contents have not been checked.
func (c *Configuration) Write(dir string, enabled []string) (file string, err error) {
	if c == nil {
		return "", nil
	}
	if dir, err = filepath.Abs(dir); err != nil { // upstream would look for a relative path in dir
		return "", err
	}
	written := apiserverv1.AdmissionConfiguration{}
	written.APIVersion, written.Kind = apiserverv1.SchemeGroupVersion.String(), configurationKind
	for _, plugin := range c.plugins {
		if plugin.data == nil || !slices.Contains(enabled, plugin.name) {
			continue
		}
		path := filepath.Join(dir, "admission-"+plugin.name+".yaml")
		data := plugin.data
		if plugin.name == imagepolicy.PluginName {
			if data, err = imagePolicy(data, dir); err != nil {
				return "", err
			}
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return "", err
		}
		written.Plugins = append(written.Plugins, apiserverv1.AdmissionPluginConfiguration{Name: plugin.name, Path: path})
	}
	data, err := json.Marshal(written)
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "admission.json")
	return file, os.WriteFile(file, data, 0o600)
}

// StaticWebhooks reports whether mutating webhooks are also read from manifests, which
// informers do not have.
func (c *Configuration) StaticWebhooks() bool {
	plugin := c.find(mutatingwebhook.PluginName)
	if plugin == nil || plugin.data == nil {
		return false
	}
	config, err := webhookconfig.LoadConfig(bytes.NewReader(plugin.data))
	return err != nil || config.StaticManifestsDir != ""
}
