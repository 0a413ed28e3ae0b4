// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// The log for operators. Starts and ends are at info level. Fields have the same names in
// all lines: address, version, dataDir, component, node, path, took, reason, error. A
// warning asks for action. An error has ended the control plane.

// logStarting logs the beginning of a start.
func (s *Server) logStarting() {
	s.config.Logger.Info("starting", zap.String("version", apiserver.KubernetesVersion), zap.String("dataDir", s.config.DataDir), zap.Bool("ephemeral", s.config.DataDir == ""))
}

// logStarted logs that the control plane is ready.
func (s *Server) logStarted() {
	fields := []zap.Field{
		zap.String("address", s.URL()),
		zap.String("version", apiserver.KubernetesVersion),
		zap.String("dataDir", s.dir),
		zap.Bool("ephemeral", s.temporary != nil),
		zap.Duration("took", time.Since(s.began)),
	}
	if insecure := s.apiserver.InsecureURL(); insecure != "" {
		fields = append(fields, zap.String("insecureAddress", insecure))
	}
	if s.config.Etcd.Name != "" {
		fields = append(fields, zap.String("member", s.config.Etcd.Name))
	}
	if s.config.Etcd.external() {
		fields = append(fields, zap.Strings("etcd", s.config.Etcd.Endpoints))
	}
	s.config.Logger.Info("started", fields...)
}

// logFailedStart logs the error of a start. A canceled start is no problem for an
// operator.
func (s *Server) logFailedStart(ctx context.Context, err error) {
	took := zap.Duration("took", time.Since(s.began))
	if errors.Is(context.Cause(ctx), context.Canceled) {
		s.config.Logger.Info("the start was canceled", zap.NamedError("reason", err), took)
		return
	}
	s.config.Logger.Error("the start has failed", zap.Error(err), zap.String("dataDir", s.config.DataDir), took)
}

// logUncleanStop warns of a crash since the last start. A stop removes runDir.
func (s *Server) logUncleanStop() {
	if _, err := os.Stat(s.runDir); err == nil && s.temporary == nil {
		s.config.Logger.Warn("the control plane was not stopped the last time: the process was killed, or the machine crashed; all acknowledged writes are kept",
			zap.String("dataDir", s.dir))
	}
}

// logStopping logs the reason of a stop.
func (s *Server) logStopping() {
	if err := s.Err(); err != nil {
		s.config.Logger.Error("the control plane has failed, and stops", zap.Error(err))
		return
	}
	s.config.Logger.Info("stopping", zap.String("reason", "Shutdown or Close was called"))
}

// logStopped logs the result of a stop.
func (s *Server) logStopped(begin time.Time, err error) {
	took := zap.Duration("took", time.Since(begin))
	if err != nil {
		s.config.Logger.Warn("stopped, but some parts are still running", zap.Error(err), took)
		return
	}
	s.config.Logger.Info("stopped", took)
}

// waitingInterval is the time between two log lines with the components that a start
// waits for. It is a variable for tests.
var waitingInterval = 10 * time.Second

// announce waits for a component, and logs when it is ready.
func (c *components) announce(ctx context.Context, component *component) error {
	reminder := time.NewTicker(waitingInterval)
	defer reminder.Stop()
	for {
		select {
		case <-component.ready:
			c.logger.Info("component is ready", zap.String("component", component.name), zap.Duration("took", component.readyAt.Sub(c.began)))
			return nil
		case <-c.failed:
			return c.failure
		case <-reminder.C:
			c.logger.Warn("the start waits for components", zap.String("component", c.waiting()), zap.Duration("for", time.Since(c.began).Round(time.Second)))
		case <-ctx.Done():
			return fmt.Errorf("not ready: component %s: %w", c.waiting(), context.Cause(ctx))
		}
	}
}

// waiting returns the names of the components that are not ready.
func (c *components) waiting() string {
	return c.names(func(o *component) bool { return !closed(o.ready) })
}
