// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"go.uber.org/zap"
	upstreamadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	webhookinitializer "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/dynamic"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	controlplaneadmission "k8s.io/kubernetes/pkg/controlplane/apiserver/admission"
	kubeadmission "k8s.io/kubernetes/pkg/kubeapiserver/admission"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"

	"github.com/kubembed/kubembed/internal/apiserver/admission"
	"github.com/kubembed/kubembed/internal/apiserver/convergence"
	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/apiserver/egress"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/apiserver/kubeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// configureAdmission sets kube-apiserver's default admission plugins and NodeRestriction.
// ServiceAccount is on if controllers create service accounts: otherwise no pod could be
// created.
func configureAdmission(e *environment, c *genericapiserver.Config, w webhooks) error {
	generic, err := (&controlplaneadmission.Config{
		ExternalInformers:    e.sharedInformers,
		LoopbackClientConfig: e.restConfig,
		APIResourceConfig:    c.MergedResourceConfig,
	}).New(w.transport, w.egress, w.resolver, c.TracerProvider)
	if err != nil {
		return fmt.Errorf("apiserver: admission: %w", err)
	}
	kube, err := (&kubeadmission.Config{}).New()
	if err != nil {
		return fmt.Errorf("apiserver: admission: %w", err)
	}
	dynamicClient, err := dynamic.NewForConfig(e.restConfig)
	if err != nil {
		return fmt.Errorf("apiserver: admission: %w", err)
	}
	o := kubeoptions.NewAdmissionOptions()
	mapper := admission.NewRESTMapper(e.client.Discovery(), func() uint64 {
		return max(e.acknowledged.Acknowledged(crd.Resource), e.acknowledged.Acknowledged(apiregistrationv1.Resource("apiservices")))
	})
	initializers := slices.Concat([]upstreamadmission.PluginInitializer{
		mapper,
		drained(e.drained),
		webhookinitializer.NewPluginInitializer(kubeconfig.Resolver, w.resolver), // within the wrapper in generic
	}, generic, kube)
	if w.egress != nil { // around the wrapper in generic
		initializers = append(initializers, webhookinitializer.NewPluginInitializer(egress.NameDialer, w.resolver))
	}
	upstreams := initializers
	initializers = append(slices.Clone(upstreams), admission.InitializeHosts(func(name string) upstreamadmission.PluginInitializer {
		contained := informers.Container{Code: fmt.Sprintf("admission plugin %q", name), Logger: e.config.Logger}
		return append(upstreamadmission.PluginInitializers{
			initializer.NewAPIServerIDInitializer(c.APIServerID),
			initializer.New(e.client, dynamicClient, contained.Factory(e.ctx, e.sharedInformers), c.Authorization.Authorizer, utilfeature.DefaultFeatureGate,
				c.EffectiveVersion, e.drained, mapper),
		}, upstreams...)
	}))
	err = configurePlugins(e, o.GenericAdmission, func() error {
		return o.ApplyTo(c, informers.Blocking(e.ctx, e.sharedInformers), e.client, dynamicClient, utilfeature.DefaultFeatureGate,
			c.EffectiveVersion, initializers...)
	})
	if err != nil {
		return err
	}
	c.AdmissionControl = admission.Chain{
		Interface: c.AdmissionControl, Calls: &e.admissions, Check: admission.CheckCertificateRequest, Wait: convergence.NewAdmission(e.acknowledged).Wait,
	}
	return nil
}

// lateAuthorizer is the authorizer of the plugins. It is set when they have been
// initialized.
type lateAuthorizer struct{ authorizer.Authorizer }

// configurePlugins gives upstream's options the host's configuration and plugins, and
// calls apply, which makes and initializes all plugins. Errors have the names of fields.
func configurePlugins(e *environment, o *genericoptions.AdmissionOptions, apply func() error) (err error) {
	o.EnablePlugins, o.DisablePlugins = e.config.admissionPlugins()
	o.RecommendedPluginOrder, _ = e.config.Admission.order()
	enabled := e.config.enabledAdmissionPlugins()
	configuration, errs := e.config.admissionConfiguration()
	if len(errs) > 0 { // changed since Validate
		return wrap(errs)
	}
	for _, name := range configuration.Disabled(enabled) {
		e.config.Logger.Warn("the admission configuration has a plugin that is not enabled", zap.String("plugin", name))
	}
	if o.ConfigFile, err = configuration.Write(e.config.Dir, enabled); err != nil {
		return fieldpath.New("apiserver", "Config.Dir", "%w", err)
	}

	host := map[string]bool{}
	making := e.makingPlugins()
	for i, plugin := range e.config.Admission.Plugins {
		host[plugin.Name] = true
		if !slices.Contains(enabled, plugin.Name) {
			continue
		}
		made, err := newAdmissionPlugin(plugin, making)
		if err != nil {
			return fieldpath.New("apiserver", admissionPluginField(i)+".New", "%w", err)
		}
		o.Plugins.Register(plugin.Name, func(io.Reader) (upstreamadmission.Interface, error) {
			return admission.Uninitialized(made, plugin.Name, making), nil
		})
	}
	ours := upstreamadmission.Decorators{
		&admission.Contain{Plugins: host, Ready: e.started.Load, Calls: &e.admissions, Timeout: e.config.RequestTimeout, Logger: e.config.Logger},
		e.policies.Decorator(e.sharedInformers),
		e.acknowledged.WebhookDecorator(e.sharedInformers),
	}
	if !configuration.StaticWebhooks() {
		ours = append(ours, admission.SkipWithoutWebhooks(e.sharedInformers))
	}
	ours = append(ours, admission.ExemptServer(e.started.Load))
	// Ours come before upstream's, which count the calls.
	o.Decorators = slices.Concat(ours, o.Decorators)

	return admissionError(e.config.Admission, configuration, apply())
}

// admissionError adds the field to an error of upstream about a plugin.
func admissionError(a Admission, configuration *admission.Configuration, err error) error {
	if err == nil {
		return nil
	}
	about := func(name string) bool { return strings.Contains(err.Error(), fmt.Sprintf("admission plugin %q", name)) }
	for i, plugin := range a.Plugins {
		if about(plugin.Name) {
			return fieldpath.New("apiserver", admissionPluginField(i), "%w", err)
		}
	}
	for _, name := range kubeoptions.AllOrderedPlugins {
		if path, inFile := configuration.Path(name); path != nil && about(name) {
			if inFile != "" {
				err = fmt.Errorf("%s: %w", inFile, err)
			}
			return fieldpath.New("apiserver", "Config."+path.String(), "%w", err)
		}
	}
	return fmt.Errorf("apiserver: admission: %w", err)
}

// drained gives plugins the channel on which they stop. Upstream's initializer gives them
// a channel that only upstream's own Run closes. This one comes directly after it, before
// the initializers that start goroutines.
type drained <-chan struct{}

func (d drained) Initialize(plugin upstreamadmission.Interface) {
	if wants, ok := plugin.(initializer.WantsDrainedNotification); ok {
		wants.SetDrainedNotification(d)
	}
}

const (
	serviceAccountPlugin = "ServiceAccount"
	// taintPlugin gives each new node a taint that only the node lifecycle controller
	// removes: without the controller no pod could be scheduled.
	taintPlugin = "TaintNodesByCondition"
)

// configuredPlugins are the plugins that do not start without a configuration.
var configuredPlugins = []string{"EventRateLimit", "ImagePolicyWebhook"}

// admissionPlugins merges our defaults with the host's lists.
func (c Config) admissionPlugins() (enable, disable []string) {
	enable = append([]string{}, c.EnableAdmissionPlugins...)
	disable = append([]string{}, c.DisableAdmissionPlugins...)
	if !slices.Contains(disable, "NodeRestriction") {
		enable = append(enable, "NodeRestriction")
	}
	if !c.Controllers && !slices.Contains(enable, serviceAccountPlugin) && !slices.Contains(disable, serviceAccountPlugin) {
		disable = append(disable, serviceAccountPlugin)
	}
	if !slices.Contains(enable, taintPlugin) && !slices.Contains(disable, taintPlugin) {
		disable = append(disable, taintPlugin)
	}
	return enable, disable
}
