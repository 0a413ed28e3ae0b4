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

// ParseConfiguration reads a KubeSchedulerConfiguration from YAML or JSON, as it
// is given to kube-scheduler's --config. Unknown and repeated fields are errors.
// Arguments of plugins are read, and everything is validated, by
// [Config.Validate].
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

// complete returns the configuration that upstream's scheduler takes: with
// defaults, plugin arguments decoded, validated. What configuration is given is
// changed.
func complete(configuration *configv1.KubeSchedulerConfiguration) (*schedulerconfig.KubeSchedulerConfiguration, error) {
	if configuration.APIVersion == "" {
		configuration.APIVersion = configv1.SchemeGroupVersion.String()
	}
	if configuration.Kind == "" {
		configuration.Kind = "KubeSchedulerConfiguration"
	}
	refused := refuse(configuration)
	// Upstream elects by default, and validates how.
	configuration.LeaderElection.LeaderElect = new(bool)

	// Upstream's decoder defaults, converts, and reads the plugins' arguments,
	// which are raw: there is no other way to have them all.
	data, err := json.Marshal(configuration)
	if err != nil {
		return nil, err
	}
	object, kind, err := scheme.Codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, errors.Join(refused, err)
	}
	internal, ok := object.(*schedulerconfig.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("it is a %s", kind)
	}
	// Conversion clears it; validation and plugins look at it.
	internal.APIVersion = kind.GroupVersion().String()
	if err := validation.ValidateKubeSchedulerConfiguration(internal); err != nil {
		return nil, errors.Join(refused, err)
	}
	return internal, refused
}

// refuse names what the caller has asked for and would not get.
func refuse(configuration *configv1.KubeSchedulerConfiguration) error {
	var errs field.ErrorList
	if elect := configuration.LeaderElection.LeaderElect; elect != nil && *elect {
		errs = append(errs, field.Forbidden(field.NewPath("leaderElection", "leaderElect"),
			"the scheduler of a control plane does not take part in an election: set it to false, or leave it out"))
	}
	if configuration.ClientConnection.Kubeconfig != "" {
		errs = append(errs, field.Forbidden(field.NewPath("clientConnection", "kubeconfig"),
			"the scheduler works for the control plane that it is a component of: leave it out"))
	}
	return errs.ToAggregate()
}
