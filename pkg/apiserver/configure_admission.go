// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"slices"

	upstreamadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/dynamic"
	controlplaneadmission "k8s.io/kubernetes/pkg/controlplane/apiserver/admission"
	kubeadmission "k8s.io/kubernetes/pkg/kubeapiserver/admission"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"

	"github.com/kubembed/kubembed/internal/apiserver/admission"
	"github.com/kubembed/kubembed/internal/apiserver/convergence"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
)

// configureAdmission sets kube-apiserver's default admission plugins and NodeRestriction.
// ServiceAccount is on if controllers create service accounts: otherwise no pod could be
// created.
func configureAdmission(e *environment, c *genericapiserver.Config, w webhooks) error {
	generic, err := (&controlplaneadmission.Config{
		ExternalInformers:    e.sharedInformers,
		LoopbackClientConfig: e.restConfig,
		APIResourceConfig:    c.MergedResourceConfig,
	}).New(w.transport, nil, w.resolver, c.TracerProvider)
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
	o.GenericAdmission.EnablePlugins, o.GenericAdmission.DisablePlugins = e.config.admissionPlugins()
	// Ours come before upstream's decorators, which count the calls.
	o.GenericAdmission.Decorators = slices.Insert(o.GenericAdmission.Decorators, 0, e.policies.Decorator(e.sharedInformers), e.acknowledged.WebhookDecorator(e.sharedInformers), admission.SkipWithoutWebhooks(e.sharedInformers), admission.ExemptServer(e.started.Load))
	initializers := slices.Concat([]upstreamadmission.PluginInitializer{drained(e.drained)}, generic, kube)
	if err := o.ApplyTo(c, informers.Blocking(e.ctx, e.sharedInformers), e.client, dynamicClient, utilfeature.DefaultFeatureGate,
		c.EffectiveVersion, initializers...); err != nil {
		return fmt.Errorf("apiserver: admission: %w", err)
	}
	c.AdmissionControl = admission.Chain{
		Interface: c.AdmissionControl, Calls: &e.admissions, Check: admission.CheckCertificateRequest, Wait: convergence.NewAdmission(e.acknowledged).Wait,
	}
	return nil
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

// configuredPlugins are the plugins that do not start without a configuration file.
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
