// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package effects measures how long a client waits for the effects of its requests: for a
// namespace to disappear, a dependent to be collected, a policy to apply. It depends on a
// side of the bench only for the configuration of the client.
//
// A delay lasts from before the request until the client sees the effect: in an event of
// a watch or, for an effect on requests, in the first answer of a repeated request that
// differs. Trials follow each other on a quiet control plane.
package effects

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"k8s.io/client-go/rest"
)

// Spec selects the effects.
type Spec struct {
	Trials int    // of each effect
	Only   string `json:",omitempty"` // regular expression of the names, or all if empty
}

// Result is an effect with the sorted delays of its trials.
type Result struct {
	Name   string
	Delays []time.Duration
}

// effect is one of the measured effects.
type effect struct {
	name string
	// every is the number of trials of other effects for one of this. If zero, 1.
	every int
	// before prepares all trials, if it is not nil.
	before func(*trial)
	// try prepares a trial, calls begin, sends the request, and waits for the effect.
	try func(*trial)
}

// all returns the effects in the order of the measurement. New CRDs come last: upstream's
// garbage collector pauses while it starts to watch them, and when they are gone.
func all() []effect {
	return slices.Concat(accounts, owners, pods, workloads, jobs, services, permissions, quotas, policies, webhooks, certificates, disruptions, nodeEffects, aggregation, autoscaling, cronJobEffects, namespaceEffects, definitions)
}

// Names returns the names of all effects.
func Names() (names []string) {
	for _, e := range all() {
		names = append(names, e.name)
	}
	return names
}

const (
	// trialTimeout bounds a trial with its preparation and its cleanup.
	trialTimeout = 90 * time.Second
	// longestPause bounds the pause before a request.
	longestPause = 30 * time.Second
)

// Run measures the effects. An error of any trial ends its effect, and is returned with
// the results of the others.
func Run(ctx context.Context, config *rest.Config, spec Spec) (results []Result, err error) {
	only, err := regexp.Compile(spec.Only)
	if err != nil {
		return nil, fmt.Errorf("effects: %w", err)
	}
	c, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("effects: %w", err)
	}
	if err := c.try(ctx, "effects-ready", "ready", ready); err != nil {
		return nil, err
	}
	var errs []error
	for i, e := range all() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !only.MatchString(e.name) {
			continue
		}
		delays, err := c.measure(ctx, e, fmt.Sprint("effects-", i), spec.Trials)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		results = append(results, Result{e.name, delays})
	}
	return results, errors.Join(errs...)
}

// measure returns the sorted delays of an effect.
func (c *client) measure(ctx context.Context, e effect, namespace string, trials int) (delays []time.Duration, err error) {
	shared := c.newTrial(ctx, namespace, "shared")
	defer func() {
		if undoErr := shared.undo(); err == nil && undoErr != nil {
			err = fmt.Errorf("effects: %s: cleanup: %w", e.name, undoErr)
		}
	}()
	shared.createNamespace(namespace)
	if e.before != nil {
		e.before(shared)
	}
	if shared.err != nil {
		return nil, fmt.Errorf("effects: %s: preparation: %w", e.name, shared.err)
	}
	longest := time.Duration(0)
	for i := range max(trials/max(e.every, 1), 1) {
		t := c.newTrial(ctx, namespace, fmt.Sprint("trial-", i))
		// A trial ends when a controller's timer fires. The pauses spread the next
		// requests evenly over the period, instead of sending each just after it.
		_, phase := math.Modf(float64(i) * math.Phi)
		t.pause = min(time.Duration(phase*float64(longest)), longestPause)
		e.try(t)
		delay, err := t.delay, t.err
		if undoErr := t.undo(); err == nil {
			err = undoErr
		}
		if err != nil {
			return nil, fmt.Errorf("effects: %s: trial %d: %w", e.name, i, err)
		}
		delays = append(delays, delay)
		longest = max(longest, delay)
	}
	slices.Sort(delays)
	return delays, nil
}
