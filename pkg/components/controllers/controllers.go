// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/logqueue"
)

// Controllers are upstream's controllers as one component of a control plane. They can
// run again after they have stopped, and in several control planes at once.
type Controllers struct{ config Config }

// New returns controllers with a copy of config. Validate and Run report an invalid
// config.
func New(config Config) *Controllers { return &Controllers{config.clone()} }

// Name returns the name of the component, "controllers".
func (c *Controllers) Name() string { return "controllers" }

// Validate calls [Config.Validate].
func (c *Controllers) Validate() error { return c.config.Validate() }

// Run runs the controllers for the control plane of config until ctx ends, and waits
// until all of them have stopped. It calls ready when their caches are synced and they
// start to work. It skips a controller whose resources are not served, unless
// Config.Controllers has its name, and a controller whose feature gate is off, with a
// warning if it is named.
//
// Run returns an error at once if the Config is invalid, if a controller cannot be
// created, if a named controller's resources are not served, or if none can run for that
// reason. If ctx ends before ready is called, the error lists the kinds whose caches have
// not synced. If goroutines are still running after the stop, the error lists them. If a
// controller panics, all stop, and the error names it. Otherwise the error is nil.
func (c *Controllers) Run(ctx context.Context, config *rest.Config, ready func()) (err error) {
	settings, selected, err := c.config.resolve()
	if err != nil {
		return err
	}
	logger, done := logqueue.Ensured(logging.ForComponent(ctx, c.config.Logger), &err)
	defer done()
	r := &run{settings: settings, logger: logger, stopTimeout: stopTimeout, running: map[string]bool{}}
	if err := r.run(ctx, config, selected, ready); err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	return nil
}
