package controlplanetest

import (
	"slices"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// envtestPlugins are the admission plugins in which envtest's API server differs from
// ours: on there, or off there.
var envtestPlugins = map[string]bool{
	"TaintNodesByCondition": true,
	"NodeRestriction":       false,
	"ServiceAccount":        false,
}

// likeEnvtest switches controllers and plugins as envtest does. Plugins that the user
// names stay, as envtest's flags would.
func likeEnvtest(c controlplane.Config) controlplane.Config {
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
