// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import "slices"

// envtestPlugins are the admission plugins that differ between envtest's API server and
// ours. The value reports whether envtest enables the plugin.
var envtestPlugins = map[string]bool{
	"TaintNodesByCondition": true,
	"NodeRestriction":       false,
	"ServiceAccount":        false,
}

// likeEnvtest enables and disables controllers and plugins as envtest does. Plugins that
// the user names stay as configured, like envtest's flags.
func likeEnvtest(c controlPlaneConfig) controlPlaneConfig {
	c.DisableCoreControllers = true
	c.EnableAdmissionPlugins = slices.Clone(c.EnableAdmissionPlugins)
	c.DisableAdmissionPlugins = slices.Clone(c.DisableAdmissionPlugins)
	for plugin, on := range envtestPlugins {
		switch {
		case slices.Contains(c.EnableAdmissionPlugins, plugin), slices.Contains(c.DisableAdmissionPlugins, plugin):
		case on:
			c.EnableAdmissionPlugins = append(c.EnableAdmissionPlugins, plugin)
		default:
			c.DisableAdmissionPlugins = append(c.DisableAdmissionPlugins, plugin)
		}
	}
	return c
}
