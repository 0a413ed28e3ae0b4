// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"fmt"
	"slices"

	"github.com/kubembed/kubembed/internal/pool/protocol"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// config returns the configuration that options stand for.
func config(o protocol.Options) (controlplane.Config, error) {
	cfg := controlplane.Config{
		ServiceCIDR:                 o.ServiceCIDR,
		RuntimeConfig:               o.RuntimeConfig,
		EnableAdmissionPlugins:      o.EnableAdmissionPlugins,
		DisableAdmissionPlugins:     o.DisableAdmissionPlugins,
		DisableCoreControllers:      o.DisableCoreControllers,
		MaxRequestsInFlight:         o.MaxRequestsInFlight,
		MaxMutatingRequestsInFlight: o.MaxMutatingRequestsInFlight,
		RequestTimeout:              o.RequestTimeout,
		EventTTL:                    o.EventTTL,
		ClusterSigningDuration:      o.ClusterSigningDuration,
	}
	if slices.Contains(slices.Concat(o.EnableAdmissionPlugins, o.DisableAdmissionPlugins), pluginName) {
		return cfg, fmt.Errorf("EnableAdmissionPlugins and DisableAdmissionPlugins: must not have %s: the program needs it", pluginName)
	}
	if o.Nodes < 0 {
		return cfg, fmt.Errorf("HollowNodes: must not be negative: got %d", o.Nodes)
	}
	for _, name := range o.Components {
		switch name {
		case protocol.Scheduler:
			cfg.Components = append(cfg.Components, scheduler.New(scheduler.Config{}))
		case protocol.Controllers:
			cfg.Components = append(cfg.Components, controllers.New(controllers.Config{}))
		case protocol.HollowNodes:
			cfg.Components = append(cfg.Components, hollownode.New(hollownode.Config{Count: max(o.Nodes, 1)}))
		default:
			return cfg, fmt.Errorf("the program has no component %q: use the same version of both modules", name)
		}
	}
	return cfg, nil
}
