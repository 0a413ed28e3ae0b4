// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
)

// ParseConfiguration parses a KubeSchedulerConfiguration in YAML or JSON, the format
// of kube-scheduler's --config. Unknown and duplicate fields are errors.
// [Config.Validate] parses the arguments of plugins and validates the configuration.
func ParseConfiguration(data []byte) (*configv1.KubeSchedulerConfiguration, error) {
	object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("scheduler: KubeSchedulerConfiguration: %w", err)
	}
	configuration, ok := object.(*configv1.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("scheduler: KubeSchedulerConfiguration: the document is a %s", kind)
	}
	return configuration, nil
}

// complete returns the internal configuration for upstream's scheduler: validated, with
// defaults and decoded plugin arguments. It modifies configuration.
func complete(configuration *configv1.KubeSchedulerConfiguration) (*schedulerconfig.KubeSchedulerConfiguration, error) {
	if configuration.APIVersion == "" {
		configuration.APIVersion = configv1.SchemeGroupVersion.String()
	}
	if configuration.Kind == "" {
		configuration.Kind = "KubeSchedulerConfiguration"
	}
	unsupported := validateUnsupported(configuration)
	// Leader election is on by default upstream, which would validate its settings.
	configuration.LeaderElection.LeaderElect = new(bool)

	// Only upstream's decoder applies the defaults, converts, and decodes the raw
	// arguments of plugins.
	data, err := json.Marshal(configuration)
	if err != nil {
		return nil, err
	}
	object, kind, err := scheme.Codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, errors.Join(unsupported, err)
	}
	internal, ok := object.(*schedulerconfig.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("got a %s, want a KubeSchedulerConfiguration", kind)
	}
	// Conversion clears the version that validation and plugins read.
	internal.APIVersion = kind.GroupVersion().String()
	if err := validation.ValidateKubeSchedulerConfiguration(internal); err != nil {
		return nil, errors.Join(unsupported, err)
	}
	return internal, unsupported
}

// validateUnsupported reports settings that would have no effect in a component.
func validateUnsupported(configuration *configv1.KubeSchedulerConfiguration) error {
	var errs field.ErrorList
	if elect := configuration.LeaderElection.LeaderElect; elect != nil && *elect {
		errs = append(errs, field.Forbidden(field.NewPath("leaderElection", "leaderElect"),
			"a scheduler component takes no part in leader election: set it to false, or omit it"))
	}
	if configuration.ClientConnection.Kubeconfig != "" {
		errs = append(errs, field.Forbidden(field.NewPath("clientConnection", "kubeconfig"),
			"a scheduler component connects to its own control plane: omit it"))
	}
	return errs.ToAggregate()
}
