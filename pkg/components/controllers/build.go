// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/served"
)

// build creates the controllers whose feature gates are on and whose resources are
// served. With an error it also returns the controllers that it has created.
func (r *run) build(ctx context.Context, e *environment, selected []controller) (map[string]func(context.Context), error) {
	client, err := e.client("controller-discovery")
	if err != nil {
		return nil, err
	}
	resources, err := served.Discover(client.Discovery())
	if err != nil {
		return nil, err
	}
	e.served = resources
	loops := map[string]func(context.Context){}
	var allMissing []string
	for _, c := range selected {
		if gate, off := c.gated(); off {
			log := r.logger.Debug
			if c.named {
				log = r.logger.Warn
			}
			log("skipping a controller: its feature gate is off", zap.String("controller", c.name), zap.String("gate", gate))
			continue
		}
		if missing := c.missing(resources); len(missing) > 0 {
			if c.named {
				return loops, fmt.Errorf("Config.Controllers: %w", &served.MissingError{Needs: c.name, Resources: missing})
			}
			r.logger.Warn("skipping a controller: the control plane does not serve its resources",
				zap.String("controller", c.name), zap.Strings("missing", missing))
			allMissing = append(allMissing, missing...)
			continue
		}
		loop, err := containment.Call(c.name, func() (func(context.Context), error) { return c.build(named(ctx, c.name), e) })
		if err != nil {
			return loops, fmt.Errorf("%s: %w", c.name, err)
		}
		loops[c.name] = loop
	}
	if len(loops) == 0 && len(allMissing) > 0 {
		slices.Sort(allMissing)
		return loops, fmt.Errorf("Config.Controllers: %w", &served.MissingError{Needs: "every one of them", Resources: slices.Compact(allMissing)})
	}
	return loops, nil
}

// missing returns the resources that the controller needs and the control plane does not
// serve.
func (c controller) missing(resources served.Resources) []string {
	missing := resources.Missing(c.caches()...)
	if unserved := resources.Missing(c.anyOf...); len(unserved) > 0 && len(unserved) == len(c.anyOf) {
		missing = append(missing, c.anyOf[0])
	}
	return missing
}

// gated returns a feature gate that the controller needs and that is off.
func (c controller) gated() (gate string, off bool) {
	for _, gate := range c.gates {
		if !utilfeature.DefaultFeatureGate.Enabled(gate) {
			return string(gate), true
		}
	}
	return "", false
}

// caches returns the resources of the controller's informers.
func (c controller) caches() []string {
	all := slices.Clone(c.reads)
	for gate, reads := range c.readsWith {
		if utilfeature.DefaultFeatureGate.Enabled(gate) {
			all = append(all, reads...)
		}
	}
	return all
}
