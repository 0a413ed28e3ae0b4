// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"math"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/wait"
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

// reconcileRetry is the time between the attempts of reconcileLater. It is a variable for
// tests.
var reconcileRetry = wait.Backoff{Duration: time.Second, Factor: 2, Cap: time.Minute, Steps: math.MaxInt}

// reconcileTimeout bounds each attempt of reconcileLater.
const reconcileTimeout = time.Minute

// reconcileLater completes the bootstrap policy if the start could not.
func (s *Server) reconcileLater(client kubernetes.Interface) {
	// Its only error is that of s.ctx: the server stops.
	_ = reconcileRetry.DelayFunc().Until(s.ctx, false, true, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
		defer cancel()
		if err := rbacpolicy.Reconcile(ctx, client, rbacpolicy.Served(s.served)); err != nil {
			return false, nil // it is tried again
		}
		s.boot.Roles.Store(true)
		s.config.Logger.Info("bootstrap RBAC policy is complete")
		return true, nil
	})
}
