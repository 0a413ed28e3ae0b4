package scheduler

import (
	"fmt"
	"maps"

	"go.uber.org/zap"
	configv1 "k8s.io/kube-scheduler/config/v1"
	frameworkplugins "k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// Config says how pods are scheduled. Its zero value is kube-scheduler without
// a configuration file.
type Config struct {
	// Configuration is kube-scheduler's configuration: profiles, plugins and
	// their arguments, extenders, back-off, parallelism. Upstream's code fills
	// in its defaults and validates it. [ParseConfiguration] reads one from
	// YAML. If nil, upstream's defaults: one profile, "default-scheduler".
	//
	// What is about a process of its own does not apply. Two fields are
	// refused: leaderElection.leaderElect true, since nothing is elected, and
	// clientConnection.kubeconfig, since the control plane is the one that the
	// component belongs to. The rest has no effect: other fields of
	// leaderElection and clientConnection, enableProfiling,
	// enableContentionProfiling, delayCacheUntilActive.
	Configuration *configv1.KubeSchedulerConfiguration

	// Plugins are plugins of your own by their names, which profiles in
	// Configuration enable. A factory is called once for each run and profile
	// that enables it. A plugin that panics ends the process, as in
	// kube-scheduler. If nil, upstream's plugins only.
	Plugins frameworkruntime.Registry

	// Logger takes what the scheduler logs, upstream's information at debug
	// level, its errors, most of which it retries by itself, as warnings. More
	// than upstream's verbosity 0 is logged when the host has raised klog's. If
	// nil, the logger of the control plane that runs it, named after the component.
	Logger *zap.Logger
}

// clone returns a copy that shares nothing that the caller can change, with
// zeros filled in.
func (c Config) clone() Config {
	c.Configuration = c.Configuration.DeepCopy()
	if c.Configuration == nil {
		c.Configuration = &configv1.KubeSchedulerConfiguration{}
	}
	c.Plugins = maps.Clone(c.Plugins)
	return c
}

// Validate reports every problem at once, each with the field's name. That a
// profile enables a plugin that does not exist, or that a plugin does not take
// its arguments, is known only when the scheduler runs: Run returns it.
func (c Config) Validate() error {
	c = c.clone()
	if _, err := complete(c.Configuration); err != nil {
		return fmt.Errorf("scheduler: invalid Config.Configuration: %w", err)
	}
	if err := frameworkplugins.NewInTreeRegistry().Merge(c.Plugins); err != nil {
		return fmt.Errorf("scheduler: invalid Config.Plugins: %w: choose a name that upstream has not", err)
	}
	return nil
}
