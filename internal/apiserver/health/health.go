// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package health has the health checks that this API server implements differently from
// kube-apiserver, under the names that monitors of kube-apiserver use.
package health

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apiserver/pkg/server/healthz"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/klog/v2"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
)

const (
	rolesCheck   = "poststarthook/" + rbacrest.PostStartHookName
	classesCheck = "poststarthook/" + schedulingrest.PostStartHookName
	rangeCheck   = "poststarthook/start-kubernetes-service-cidr-controller"
	peersCheck   = "poststarthook/" + PeersHook

	// PeersHook is a start hook of upstream that this server does not run.
	PeersHook = "peer-endpoint-reconciler-controller"
)

// BootChecks are the names of the checks of Boot, as of upstream's hooks. No start or
// stop waits for them: they report parts of the start itself.
var BootChecks = []string{rolesCheck, classesCheck, rangeCheck, peersCheck}

// Boot records which work of upstream's hooks a start has done.
type Boot struct {
	Seeded    atomic.Bool // the bootstrap objects exist
	Roles     atomic.Bool // the bootstrap roles and bindings match this release
	Published atomic.Bool // other servers have the addresses of this one
}

// Checks returns the checks for the served resources. rbac reports whether RBAC is among
// the authorization modes.
func (b *Boot) Checks(served *serverstorage.ResourceConfig, rbac bool) (checks []healthz.HealthChecker) {
	add := func(name string, done *atomic.Bool, problem string) {
		checks = append(checks, healthz.NamedCheck(name, func(*http.Request) error {
			if !done.Load() {
				return errors.New(problem)
			}
			return nil
		}))
	}
	if served.ResourceEnabled(rbacv1.SchemeGroupVersion.WithResource("clusterroles")) && rbac {
		add(rolesCheck, &b.Roles, "the bootstrap roles and role bindings are not complete: see the log")
	}
	if served.ResourceEnabled(schedulingv1.SchemeGroupVersion.WithResource("priorityclasses")) {
		add(classesCheck, &b.Seeded, "the system priority classes are not written yet")
	}
	if served.ResourceEnabled(networkingv1.SchemeGroupVersion.WithResource("servicecidrs")) {
		add(rangeCheck, &b.Seeded, "the default ServiceCIDR is not written yet")
	}
	add(peersCheck, &b.Published, "other API servers have not been given the addresses of this one yet")
	return checks
}

// ServingCertificate returns upstream's check of the certificate that the server shows to
// itself. Clients in this process need no certificate except for exec, attach and
// port-forward, for which they get the serving certificate of all clients.
func ServingCertificate(serving func() (tls.Certificate, error)) healthz.HealthChecker {
	return healthz.NamedCheck("loopback-serving-certificate", func(*http.Request) error {
		cert, err := serving()
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

// Upstream's values.
const (
	logProbeInterval = time.Minute
	logBlockedAfter  = 2 * time.Minute
)

// LogCheck fails while a Logger with a queue, or klog, has been writing one line for two
// minutes. Upstream's check flushes klog each minute, forever; this one flushes when it
// is called, at most once a minute and once at a time.
type LogCheck struct {
	logger *zap.Logger
	now    func() time.Time
	flush  func()

	mu    sync.Mutex
	began time.Time // of the last flush
	ended time.Time // zero while it lasts
}

// NewLogCheck returns the check of a Logger and of klog.
func NewLogCheck(logger *zap.Logger) *LogCheck {
	return &LogCheck{logger: logger, now: time.Now, flush: klog.Flush}
}

// Name implements healthz.HealthChecker. It is the name of upstream's check.
func (*LogCheck) Name() string { return healthz.LogHealthz.Name() }

// Check implements healthz.HealthChecker.
func (c *LogCheck) Check(*http.Request) error {
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
