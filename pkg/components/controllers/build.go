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

// build makes the controllers that can work here. With an error it returns those
// that it has made.
func (r *run) build(ctx context.Context, e *environment, chosen []controller) (map[string]func(context.Context), error) {
	client, err := e.client("controller-discovery")
	if err != nil {
		return nil, err
	}
	present, err := served.Discover(client.Discovery())
	if err != nil {
		return nil, err
	}
	e.present = present
	loops := map[string]func(context.Context){}
	var lacking []string
	for _, c := range chosen {
		if gate, off := c.gated(); off {
			say := r.logger.Debug
			if c.named {
				say = r.logger.Warn
			}
			say("a controller is left out: its feature gate is off", zap.String("controller", c.name), zap.String("gate", gate))
			continue
		}
		if missing := c.missing(present); len(missing) > 0 {
			if c.named {
				return loops, fmt.Errorf("Config.Controllers: %w", &served.MissingError{Needs: c.name, Resources: missing})
			}
			r.logger.Warn("a controller is left out: the control plane does not serve what it works on",
				zap.String("controller", c.name), zap.Strings("missing", missing))
			lacking = append(lacking, missing...)
			continue
		}
		loop, err := containment.Call(c.name, func() (func(context.Context), error) { return c.build(named(ctx, c.name), e) })
		if err != nil {
			return loops, fmt.Errorf("%s: %w", c.name, err)
		}
		loops[c.name] = loop
	}
	if len(loops) == 0 && len(lacking) > 0 {
		slices.Sort(lacking)
		return loops, fmt.Errorf("Config.Controllers: %w", &served.MissingError{Needs: "every one of them", Resources: slices.Compact(lacking)})
	}
	return loops, nil
}

// missing returns the resources without which the controller cannot work, and which the control
// plane does not serve.
func (c controller) missing(present served.Resources) []string {
	missing := present.Missing(c.caches()...)
	if none := present.Missing(c.oneOf...); len(none) > 0 && len(none) == len(c.oneOf) {
		missing = append(missing, c.oneOf[0])
	}
	return missing
}

// gated names a feature gate that is off and that the controller needs.
func (c controller) gated() (gate string, off bool) {
	for _, gate := range c.gates {
		if !utilfeature.DefaultFeatureGate.Enabled(gate) {
			return string(gate), true
		}
	}
	return "", false
}

// caches are the resources that the controller has caches of.
func (c controller) caches() []string {
	all := slices.Clone(c.reads)
	for gate, reads := range c.readsWith {
		if utilfeature.DefaultFeatureGate.Enabled(gate) {
			all = append(all, reads...)
		}
	}
	return all
}
