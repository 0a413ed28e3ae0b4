// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"maps"

	"go.uber.org/zap"
	configv1 "k8s.io/kube-scheduler/config/v1"
	frameworkplugins "k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// Config configures a Scheduler. Its zero value is kube-scheduler without a
// configuration file.
type Config struct {
	// Configuration is kube-scheduler's configuration: profiles, plugins and
	// their arguments, extenders, back-off, parallelism. Upstream's code applies
	// the defaults and validates it. [ParseConfiguration] reads it from YAML. If
	// nil, upstream's defaults: one profile, "default-scheduler".
	//
	// Two fields are invalid: leaderElection.leaderElect true, because a component
	// takes no part in an election, and clientConnection.kubeconfig, because the
	// component connects to its own control plane. The other fields for a separate
	// process have no effect: all others of leaderElection and clientConnection,
	// enableProfiling, enableContentionProfiling, delayCacheUntilActive.
	Configuration *configv1.KubeSchedulerConfiguration

	// Plugins are out-of-tree plugins by name. Profiles in Configuration enable
	// them. Each run calls a factory once for each profile that enables it. A
	// plugin that panics ends the process, as in kube-scheduler. If nil, only
	// upstream's plugins.
	Plugins frameworkruntime.Registry

	// Logger receives the log of the scheduler: upstream's information at debug
	// level, and its errors as warnings, because it retries most of them. Lines above
	// klog's verbosity 0 are logged only if the host has raised klog's verbosity. If
	// nil, the logger of the control plane, named after the component.
	Logger *zap.Logger
}

// clone returns a deep copy of c with its defaults.
func (c Config) clone() Config {
	c.Configuration = c.Configuration.DeepCopy()
	if c.Configuration == nil {
		c.Configuration = &configv1.KubeSchedulerConfiguration{}
	}
	c.Plugins = maps.Clone(c.Plugins)
	return c
}

// Validate reports all problems in one error that names the fields. Two problems are
// only found by Run: a profile that enables an unknown plugin, and arguments that a
// plugin does not accept.
func (c Config) Validate() error {
	c = c.clone()
	if _, err := complete(c.Configuration); err != nil {
		return fmt.Errorf("scheduler: invalid Config.Configuration: %w", err)
	}
	if err := frameworkplugins.NewInTreeRegistry().Merge(c.Plugins); err != nil {
		return fmt.Errorf("scheduler: invalid Config.Plugins: %w: choose a name that no upstream plugin has", err)
	}
	return nil
}
