// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/apiserver/rbacpolicy"
)

// reconcile updates the RBAC policy in existing data to that of this release.
func (s *Server) reconcile(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(s.loopbackConfig())
	if err != nil {
		return fmt.Errorf("apiserver: loopback client: %w", err)
	}
	if err := rbacpolicy.Reconcile(ctx, client, rbacpolicy.Served(s.served)); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// Upstream, too, continues with the part of the policy that it could write.
		s.config.Logger.Error("bootstrap RBAC policy is not complete", zap.Error(err))
		s.background.Go(func() { s.reconcileLater(client) })
		return nil
	}
	s.boot.Roles.Store(true)
	return nil
}

// The first and the longest time between attempts of reconcileLater. Variables for tests.
var (
	reconcileRetry    = time.Second
	maxReconcileRetry = time.Minute
)

// reconcileLater completes the bootstrap policy if the start could not.
func (s *Server) reconcileLater(client kubernetes.Interface) {
	for wait := reconcileRetry; ; wait = min(2*wait, maxReconcileRetry) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, maxReconcileRetry)
		err := rbacpolicy.Reconcile(ctx, client, rbacpolicy.Served(s.served))
		cancel()
		if err == nil {
			s.boot.Roles.Store(true)
			s.config.Logger.Info("bootstrap RBAC policy is complete")
			return
		}
	}
}
