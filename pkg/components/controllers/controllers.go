package controllers

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/logqueue"
)

// Controllers are upstream's controllers as one component of a control plane.
// They may be run again after they have stopped, and by several control planes
// at once.
type Controllers struct{ config Config }

// New returns controllers that do as config says. It copies config. What is
// wrong with it is reported by Validate, and by Run.
func New(config Config) *Controllers { return &Controllers{config.clone()} }

// Name is how control planes call the component: "controllers".
func (c *Controllers) Name() string { return "controllers" }

// Validate is [Config.Validate] of what New was given.
func (c *Controllers) Validate() error { return c.config.Validate() }

// Run runs the controllers against the control plane that config leads to until
// ctx ends, and returns when everything that it has started has ended. It calls
// ready when the controllers have seen what is there and begin to work. A
// controller of resources that the control plane does not serve is left out, unless
// Config.Controllers has its name, and so is one whose feature gate is off, with a
// warning if it is named.
//
// It returns an error at once for a Config that is not valid, for controllers that
// cannot be made, for one that Config.Controllers names and whose resources are not
// served, and where none can run for that reason. If ctx ends before ready was called, the
// error says which kinds of objects could not be read; after that, what did not
// end. If one of the controllers panics, all end, and the error names it.
// Otherwise it is nil.
func (c *Controllers) Run(ctx context.Context, config *rest.Config, ready func()) (err error) {
	settings, chosen, err := c.config.resolve()
	if err != nil {
		return err
	}
	logger, done := logqueue.Ensured(logging.ForComponent(ctx, c.config.Logger), &err)
	defer done()
	r := &run{settings: settings, logger: logger, stopTimeout: stopTimeout, running: map[string]bool{}}
	if err := r.run(ctx, config, chosen, ready); err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	return nil
}
