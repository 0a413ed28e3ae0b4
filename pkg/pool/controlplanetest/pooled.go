// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubembed/kubembed/pkg/pool/internal/protocol"
)

// The control plane runs in the program controlplanes: only this type and these methods
// depend on that. Files with the line "Code generated" are copies from
// github.com/kubembed/kubembed/pkg/controlplanetest, whose control plane runs in the
// process of the test.
type controlPlaneConfig = ControlPlaneConfig

// startTimeout bounds a start. The first one on a machine builds the program.
const startTimeout = 30 * time.Minute

// leaseTimeout bounds the wait for a control plane of a program that runs.
const leaseTimeout = 3 * time.Minute

// open leases a control plane.
func (p *plane) open(ctx context.Context) (err error) {
	if err := p.config.validate(); err != nil {
		return err
	}
	if p.config.BehaveLikeEnvtest {
		p.config.ControlPlane = likeEnvtest(p.config.ControlPlane)
	}
	if p.server, err = p.config.lease(ctx, p.test); err != nil {
		return err
	}
	p.log, p.auditPath = p.server.log, p.server.lease.AuditPath
	return nil
}

func (c Config) lease(ctx context.Context, test string) (*server, error) {
	program, err := c.program(ctx)
	if err != nil {
		return nil, err
	}
	return program.lease(ctx, c.Idle, protocol.LeaseRequest{Owner: thisProcess(test), Options: c.options()})
}

func (p program) lease(ctx context.Context, idle time.Duration, request protocol.LeaseRequest) (*server, error) {
	var errs []error
	for {
		socket, log, err := p.connect(ctx, idle)
		if err != nil {
			return nil, errors.Join(append(errs, err)...)
		}
		s, err := beginBefore(ctx, leaseTimeout, socket, log, request)
		if err == nil {
			return s, nil
		}
		// The program may end between the connection and the lease. One that stops needs
		// a moment to close its socket.
		if errs = append(errs, err); !errors.Is(err, errGone) || len(errs) == leaseTries {
			return nil, fmt.Errorf("the program %s: %w", p, errors.Join(errs...))
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// leaseTries is the number of programs that may end before they have given the test a
// control plane.
const leaseTries = 3

func beginBefore(ctx context.Context, timeout time.Duration, socket, log string, request protocol.LeaseRequest) (*server, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the program controlplanes has given no control plane for %s: its log is %s", timeout, log))
	defer cancel()
	return begin(ctx, socket, log, request)
}

func (c Config) options() protocol.Options {
	o := protocol.Options{
		Audit:                       c.Audit,
		ServiceCIDR:                 c.ControlPlane.ServiceCIDR,
		RuntimeConfig:               c.ControlPlane.RuntimeConfig,
		EnableAdmissionPlugins:      c.ControlPlane.EnableAdmissionPlugins,
		DisableAdmissionPlugins:     c.ControlPlane.DisableAdmissionPlugins,
		DisableCoreControllers:      c.ControlPlane.DisableCoreControllers,
		MaxRequestsInFlight:         c.ControlPlane.MaxRequestsInFlight,
		MaxMutatingRequestsInFlight: c.ControlPlane.MaxMutatingRequestsInFlight,
		RequestTimeout:              c.ControlPlane.RequestTimeout,
		EventTTL:                    c.ControlPlane.EventTTL,
		ClusterSigningDuration:      c.ControlPlane.ClusterSigningDuration,
		Nodes:                       c.ControlPlane.HollowNodes,
	}
	if c.ControlPlane.Scheduler {
		o.Components = append(o.Components, protocol.Scheduler)
	}
	if c.ControlPlane.Controllers {
		o.Components = append(o.Components, protocol.Controllers)
	}
	if o.Nodes > 0 {
		o.Components = append(o.Components, protocol.HollowNodes)
	}
	return o
}

// validate leaves the rest to the program.
func (c Config) validate() error {
	if nodes := c.ControlPlane.HollowNodes; nodes < 0 {
		return fmt.Errorf("Config.ControlPlane.HollowNodes: must not be negative: got %d", nodes)
	}
	if c.Idle < 0 || c.Idle > 0 && c.Idle < minIdle {
		return fmt.Errorf("Config.Idle: must be at least %s: got %s: a time.Duration without a unit is in nanoseconds", minIdle, c.Idle)
	}
	return nil
}

// minIdle is the least Config.Idle: a program must not end between its start and the
// first lease.
const minIdle = 100 * time.Millisecond

// logf writes nothing: the log is the program's.
func (*plane) logf(string, ...any) {}

// durable reports whether the objects outlive the control plane.
func (Config) durable() bool { return false }
