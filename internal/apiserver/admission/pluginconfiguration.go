// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	policyconfig "k8s.io/apiserver/pkg/admission/plugin/policy/config"
	policyapi "k8s.io/apiserver/pkg/admission/plugin/policy/config/apis/policyconfig/install"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	resourcequotaapi "k8s.io/apiserver/pkg/admission/plugin/resourcequota/apis/resourcequota/install"
	webhookconfig "k8s.io/apiserver/pkg/admission/plugin/webhook/config"
	webhookapi "k8s.io/apiserver/pkg/admission/plugin/webhook/config/apis/webhookadmission/install"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	policyloader "k8s.io/kubernetes/pkg/admission/plugin/policy/manifest/loader"
	webhookloader "k8s.io/kubernetes/pkg/admission/plugin/webhook/manifest/loader"
	eventratelimitapi "k8s.io/kubernetes/plugin/pkg/admission/eventratelimit/apis/eventratelimit/install"
	"k8s.io/kubernetes/plugin/pkg/admission/imagepolicy"
	"k8s.io/kubernetes/plugin/pkg/admission/podnodeselector"
	podtolerationrestrictionapi "k8s.io/kubernetes/plugin/pkg/admission/podtolerationrestriction/apis/podtolerationrestriction/install"
	"k8s.io/kubernetes/plugin/pkg/admission/security/podsecurity"
	podsecurityload "k8s.io/pod-security-admission/admission/api/load"
	podsecurityapi "k8s.io/pod-security-admission/admission/api/scheme"
	podsecurityvalidation "k8s.io/pod-security-admission/admission/api/validation"
	"sigs.k8s.io/yaml"

	"github.com/kubembed/kubembed/internal/apiserver/kubeconfig"
	"github.com/kubembed/kubembed/internal/ownership"
)

// pluginScheme has the configurations of upstream's plugins.
var pluginScheme = runtime.NewScheme()

func init() {
	for _, install := range []func(*runtime.Scheme){
		eventratelimitapi.Install, podsecurityapi.AddToScheme, podtolerationrestrictionapi.Install, policyapi.Install, resourcequotaapi.Install, webhookapi.Install,
	} {
		install(pluginScheme)
	}
}

// Encode returns the configuration of a plugin as JSON. An object that does not have its
// kind gets it. Values that are no objects are encoded as they are.
func Encode(configuration any) ([]byte, error) {
	object, ok := configuration.(runtime.Object)
	if !ok {
		return json.Marshal(configuration)
	}
	if !object.GetObjectKind().GroupVersionKind().Empty() {
		return json.Marshal(object)
	}
	kinds, _, err := pluginScheme.ObjectKinds(object)
	if err != nil {
		return nil, fmt.Errorf("%T is no configuration of an admission plugin that is known: set its APIVersion and Kind", object)
	}
	if kinds[0].Version == runtime.APIVersionInternal {
		return nil, fmt.Errorf("%T is upstream's internal type: use the type of a version, such as v1", object)
	}
	object = object.DeepCopyObject()
	object.GetObjectKind().SetGroupVersionKind(kinds[0])
	return json.Marshal(object)
}

// constructed is the value of a panic that ends upstream's InitPlugin once the plugin is
// made.
type constructed struct{}

// Initialize implements admission.PluginInitializer.
func (constructed) Initialize(admission.Interface) { panic(constructed{}) }

// check returns the error with which upstream would not make or initialize the plugin.
func (c pluginConfiguration) check(plugins *admission.Plugins) (err error) {
	if c.data == nil {
		return nil
	}
	data := c.data
	switch c.name {
	case podnodeselector.PluginName:
		return checkPodNodeSelector(data)
	case imagepolicy.PluginName:
		if err := checkImagePolicy(data); err != nil {
			return err
		}
		dir, err := os.MkdirTemp("", "kubembed-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if data, err = imagePolicy(data, dir); err != nil {
			return err
		}
	}
	if err := makePlugin(plugins, c.name, data); err != nil {
		return err
	}
	return c.checkInitialization()
}

// makePlugin returns the error with which upstream would not make the plugin.
func makePlugin(plugins *admission.Plugins, name string, data []byte) (err error) {
	defer func() {
		if value := recover(); value != nil && value != any(constructed{}) {
			err = fmt.Errorf("upstream panicked: %v", value)
		}
	}()
	// Its initializer stops it after the plugin is made.
	_, err = plugins.InitPlugin(name, bytes.NewReader(data), constructed{})
	return err
}

// checkInitialization checks what upstream checks or reads when it initializes the
// plugin. The data is known to be a configuration of it.
func (c pluginConfiguration) checkInitialization() (err error) {
	reader := bytes.NewReader(c.data)
	switch c.name {
	case podsecurity.PluginName:
		config, err := podsecurityload.LoadFromData(c.data)
		if err != nil {
			return err
		}
		return podsecurityvalidation.ValidatePodSecurityConfiguration(config).ToAggregate()
	case mutatingwebhook.PluginName, validatingwebhook.PluginName:
		config, err := webhookconfig.LoadConfig(reader)
		if err != nil {
			return err
		}
		if config.KubeConfigFile != "" {
			if err := kubeconfig.Check(config.KubeConfigFile); err != nil {
				return err
			}
		}
		return c.checkManifests(config.StaticManifestsDir)
	case validatingpolicy.PluginName:
		config, err := policyconfig.LoadValidatingConfig(reader)
		if err != nil {
			return err
		}
		return c.checkManifests(config.StaticManifestsDir)
	case mutatingpolicy.PluginName:
		config, err := policyconfig.LoadMutatingConfig(reader)
		if err != nil {
			return err
		}
		return c.checkManifests(config.StaticManifestsDir)
	}
	return nil
}

// checkManifests loads static manifests as upstream does.
func (c pluginConfiguration) checkManifests(dir string) (err error) {
	if dir == "" {
		return nil
	}
	if err := ownership.Files(dir); err != nil {
		return fmt.Errorf("staticManifestsDir: %w", err)
	}
	switch c.name {
	case mutatingwebhook.PluginName:
		_, err = webhookloader.LoadMutatingManifests(dir)
	case validatingwebhook.PluginName:
		_, err = webhookloader.LoadValidatingManifests(dir)
	case mutatingpolicy.PluginName:
		_, err = policyloader.LoadMutatingManifestsFromDirectory(dir)
	case validatingpolicy.PluginName:
		_, err = policyloader.LoadValidatingManifestsFromDirectory(dir)
	}
	if err != nil {
		return fmt.Errorf("staticManifestsDir: %w", err)
	}
	return nil
}

// checkPodNodeSelector checks what upstream reads: it ignores errors, and with some of
// them it tries forever.
func checkPodNodeSelector(data []byte) error {
	var config struct {
		Selectors map[string]string `json:"podNodeSelectorPluginConfig"`
	}
	if err := yaml.UnmarshalStrict(data, &config); err != nil {
		return err
	}
	if config.Selectors == nil {
		return errors.New("podNodeSelectorPluginConfig is missing")
	}
	for _, namespace := range sets.List(sets.KeySet(config.Selectors)) {
		if _, err := labels.ConvertSelectorToLabelsMap(config.Selectors[namespace]); err != nil {
			return fmt.Errorf("podNodeSelectorPluginConfig.%s: %w", namespace, err)
		}
	}
	return nil
}

// checkImagePolicy checks that there is a kubeconfig: without one, upstream would use the
// kubeconfig of the user of this process.
func checkImagePolicy(data []byte) error {
	var config imagepolicy.AdmissionConfig
	if err := yaml.UnmarshalStrict(data, &config); err != nil {
		return err
	}
	file := config.ImagePolicyWebhook.KubeConfigFile
	if file == "" {
		return errors.New("imagePolicy.kubeConfigFile is missing: it must be the path of a kubeconfig that names the webhook")
	}
	return kubeconfig.Check(file)
}

// imagePolicy returns a valid configuration with the kubeconfig that upstream loads,
// which may be a copy in dir.
func imagePolicy(data []byte, dir string) ([]byte, error) {
	var config imagepolicy.AdmissionConfig
	if err := yaml.UnmarshalStrict(data, &config); err != nil {
		return nil, err
	}
	file, err := kubeconfig.WithoutFiles(config.ImagePolicyWebhook.KubeConfigFile, dir)
	if err != nil || file == config.ImagePolicyWebhook.KubeConfigFile {
		return data, err
	}
	config.ImagePolicyWebhook.KubeConfigFile = file
	return yaml.Marshal(config)
}
