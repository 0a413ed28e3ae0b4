package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
)

// Monitors ask for kube-apiserver's health checks by name. This file has those whose
// subject is done differently here, under upstream's names.

const (
	rolesCheck   = "poststarthook/" + rbacrest.PostStartHookName
	classesCheck = "poststarthook/" + schedulingrest.PostStartHookName
	rangeCheck   = "poststarthook/start-kubernetes-service-cidr-controller"
	peersCheck   = "poststarthook/" + peersHook

	peersHook = "peer-endpoint-reconciler-controller"
)

// bootChecks have upstream's names of hooks that are not used here. No start or stop waits
// for them: what they report on is a part of the start itself.
var bootChecks = []string{rolesCheck, classesCheck, rangeCheck, peersCheck}

// boot records which work of upstream's hooks a start has done.
type boot struct {
	seeded    atomic.Bool // the bootstrap objects are there
	roles     atomic.Bool // the bootstrap roles and bindings are as this release has them
	published atomic.Bool // other servers know this one
}

func (b *boot) checks(g *generic) (checks []healthz.HealthChecker) {
	add := func(name string, done *atomic.Bool, what string) {
		checks = append(checks, healthz.NamedCheck(name, func(*http.Request) error {
			if !done.Load() {
				return errors.New(what)
			}
			return nil
		}))
	}
	enabled := g.server.MergedResourceConfig
	if enabled.ResourceEnabled(rbacv1.SchemeGroupVersion.WithResource("clusterroles")) && slices.Contains(g.config.modes(), modes.ModeRBAC) {
		add(rolesCheck, &b.roles, "the bootstrap roles and role bindings are not complete: the log says why")
	}
	if enabled.ResourceEnabled(schedulingv1.SchemeGroupVersion.WithResource("priorityclasses")) {
		add(classesCheck, &b.seeded, "the system priority classes are not written yet")
	}
	if enabled.ResourceEnabled(networkingv1.SchemeGroupVersion.WithResource("servicecidrs")) {
		add(rangeCheck, &b.seeded, "the default ServiceCIDR is not written yet")
	}
	add(peersCheck, &b.published, "other API servers have not been given the addresses of this one yet")
	return checks
}

// servingCheck is upstream's check of the certificate that the server shows to itself.
// Clients in this process need none but for exec, attach and port-forward, for which
// they see the one of all clients.
func (g *generic) servingCheck() healthz.HealthChecker {
	return healthz.NamedCheck("loopback-serving-certificate", func(*http.Request) error {
		cert, err := g.config.PKI.Serving().TLS()
		if err != nil {
			return fmt.Errorf("serving certificate: %w", err)
		}
		if now := time.Now(); cert.Leaf != nil && (now.After(cert.Leaf.NotAfter) || now.Before(cert.Leaf.NotBefore)) {
			return fmt.Errorf("the serving certificate is valid from %s to %s, and it is %s",
				cert.Leaf.NotBefore.UTC().Format(time.RFC3339), cert.Leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
		return nil
	})
}

// What upstream's check has.
const (
	logProbeInterval = time.Minute
	logBlockedAfter  = 2 * time.Minute
)

// logCheck is red while a Logger with a queue, or klog, has been writing one line for two
// minutes. Upstream's flushes klog each minute, for ever; this one does so when it is
// asked, at most once a minute and one at a time.
type logCheck struct {
	logger *zap.Logger
	now    func() time.Time
	flush  func()

	mu    sync.Mutex
	began time.Time // of the last flush
	ended time.Time // zero while it lasts
}

func newLogCheck(logger *zap.Logger) *logCheck {
	return &logCheck{logger: logger, now: time.Now, flush: klog.Flush}
}

func (*logCheck) Name() string { return healthz.LogHealthz.Name() }

func (c *logCheck) Check(*http.Request) error {
	if queue, ok := c.logger.Core().(interface{ Stalled() time.Duration }); ok && queue.Stalled() >= logBlockedAfter {
		return fmt.Errorf("logging blocked: the Logger has not returned for %s", queue.Stalled().Round(time.Second))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	switch {
	case c.began.IsZero(), !c.ended.IsZero() && now.Sub(c.began) >= logProbeInterval:
		c.began, c.ended = now, time.Time{}
		go func() {
			c.flush()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.ended = c.now()
		}()
	case c.ended.IsZero() && now.Sub(c.began) >= logBlockedAfter:
		return fmt.Errorf("logging blocked: klog has not been flushed for %s", now.Sub(c.began).Round(time.Second))
	}
	return nil
}

// The time between tries of reconcileLater. They are variables for tests.
var (
	reconcileRetry    = time.Second
	maxReconcileRetry = time.Minute
)

// reconcileLater completes the bootstrap policy when a start could not.
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
		err := reconcileRBAC(ctx, client, s.servedRBACPolicy())
		cancel()
		if err == nil {
			s.generic.boot.roles.Store(true)
			s.config.Logger.Info("bootstrap RBAC policy is complete")
			return
		}
	}
}
