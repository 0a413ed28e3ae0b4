// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/kubembed/kubembed/internal/klogbridge"
	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// The control plane runs in the process of the test: only these types and methods depend
// on that. The fixture in pkg/pool, whose control plane runs in another process, has its
// own, and copies of the files that do not import package controlplane.
type (
	server     = controlplane.Server
	checkpoint = controlplane.Checkpoint

	controlPlaneConfig = controlplane.Config
)

// AuditEvent is a request in an audit trail.
type AuditEvent = auditv1.Event

// startTimeout bounds a start. The error then names the readiness checks that failed.
// Twenty starts at once on two cores need a few seconds.
const startTimeout = 3 * time.Minute

// open starts the server.
func (p *plane) open(ctx context.Context) (err error) {
	if p.config.BehaveLikeEnvtest {
		p.config.ControlPlane = likeEnvtest(p.config.ControlPlane)
	}
	cfg := &p.config.ControlPlane
	if cfg.Logger == nil {
		p.log = &logBuffer{flush: klogbridge.Flush}
		cfg.Logger = logging.NewText(p.log.add)
	}
	if err := p.audit(&cfg.Audit.Log.Path); err != nil {
		return err
	}
	p.server, err = controlplane.Start(ctx, *cfg)
	return err
}

// validate checks the part of a Config that the start of a server validates.
func (c Config) validate() error {
	if c.BehaveLikeEnvtest {
		c.ControlPlane = likeEnvtest(c.ControlPlane)
	}
	return c.ControlPlane.Validate()
}

// logf writes to the log of the control plane.
func (p *plane) logf(format string, args ...any) {
	if logger := p.config.ControlPlane.Logger; logger != nil {
		logger.Sugar().Infof(format, args...)
	}
}

// durable reports whether the objects outlive the control plane.
func (c Config) durable() bool { return c.ControlPlane.DataDir != "" }
