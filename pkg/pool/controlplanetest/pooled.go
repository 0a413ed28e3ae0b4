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

// The control plane runs in the program controlplanes: only these types and methods
// depend on that. Files with the line "Code generated" are copies from
// github.com/kubembed/kubembed/pkg/controlplanetest, whose control plane runs in the
// process of the test.
type (
	controlPlaneConfig = ControlPlaneConfig
	backend            struct{}
)

// startTimeout bounds a start. The first one on a machine builds the program.
const startTimeout = 30 * time.Minute

// leaseTimeout bounds the wait for a control plane of a program that runs.
const leaseTimeout = 3 * time.Minute

// open leases a control plane.
func (p *plane) open(ctx context.Context) (err error) {
	if p.config.BehaveLikeEnvtest {
		p.config.ControlPlane = likeEnvtest(p.config.ControlPlane)
	}
	if p.server, err = p.config.lease(ctx); err != nil {
		return err
	}
	p.log, p.auditPath = p.server.log, p.server.lease.AuditPath
	return nil
}

func (c Config) lease(ctx context.Context) (*server, error) {
	program, err := c.program(ctx)
	if err != nil {
		return nil, err
	}
	request := protocol.LeaseRequest{Owner: thisProcess(), Options: c.options()}
	// The program may end between the connection and the lease.
	var errs []error
	for range 3 {
		socket, log, err := program.connect(ctx, c.Idle)
		if err != nil {
			return nil, errors.Join(append(errs, err)...)
		}
		leased, cancel := context.WithTimeoutCause(ctx, leaseTimeout, fmt.Errorf("the program controlplanes has given no control plane for %s: its log is %s", leaseTimeout, log))
		defer cancel()
		s, err := begin(leased, socket, log, request)
		if err == nil {
			return s, nil
		}
		if errs = append(errs, err); !errors.Is(err, errGone) {
			break
		}
	}
	return nil, fmt.Errorf("the program %s: %w", program, errors.Join(errs...))
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

// close has nothing to release beside the server.
func (p *plane) close() {}

// validate leaves the rest to the program.
func (Config) validate() error { return nil }

// logf writes nothing: the log is the program's.
func (*plane) logf(string, ...any) {}

// durable reports whether the objects outlive the control plane.
func (Config) durable() bool { return false }
