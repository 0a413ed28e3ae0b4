// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	serverstorage "k8s.io/apiserver/pkg/server/storage"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/logqueue"
)

// TestBootChecks are red until the start has done their part.
func TestBootChecks(t *testing.T) {
	enabled := serverstorage.NewResourceConfig()
	enabled.EnableVersions(rbacv1.SchemeGroupVersion, schedulingv1.SchemeGroupVersion, networkingv1.SchemeGroupVersion)
	var b Boot
	status := func() (green []string) {
		for _, check := range b.Checks(enabled, true) {
			if check.Check(nil) == nil {
				green = append(green, check.Name())
			}
		}
		return green
	}
	if green := status(); len(green) > 0 || len(b.Checks(enabled, true)) != len(BootChecks) {
		t.Errorf("green before the start: %q of %d", green, len(b.Checks(enabled, true)))
	}
	b.Seeded.Store(true)
	b.Published.Store(true)
	if green := strings.Join(status(), " "); green != classesCheck+" "+rangeCheck+" "+peersCheck {
		t.Errorf("green before the roles are complete: %s", green)
	}
	b.Roles.Store(true)
	if green := status(); len(green) != len(BootChecks) {
		t.Errorf("green at the end: %q", green)
	}
	// Upstream has no hook then.
	enabled = serverstorage.NewResourceConfig()
	if checks := b.Checks(enabled, true); len(checks) != 1 {
		t.Errorf("%d checks without the APIs", len(checks))
	}
}

// blockedCore is a Logger that does not return.
type blockedCore struct {
	zapcore.Core
	called  chan struct{}
	release chan struct{}
}

func (blockedCore) Enabled(zapcore.Level) bool { return true }

func (c blockedCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(e, c)
}

func (c blockedCore) Write(zapcore.Entry, []zapcore.Field) error {
	close(c.called)
	<-c.release
	return nil
}

// TestLogCheck is red while klog, or a Logger behind a queue, holds a line for long.
func TestLogCheck(t *testing.T) {
	now := time.Now()
	flushing, release := make(chan struct{}), make(chan struct{})
	check := NewLogCheck(zap.NewNop())
	check.now = func() time.Time { return now }
	check.flush = func() {
		flushing <- struct{}{}
		<-release
	}
	for range 3 { // one flush at a time
		if err := check.Check(nil); err != nil {
			t.Error("at first:", err)
		}
	}
	<-flushing
	now = now.Add(logBlockedAfter)
	if err := check.Check(nil); err == nil {
		t.Error("green while klog is blocked")
	}
	close(release)
	if err := lifecycle.Poll(t.Context(), func() bool {
		check.mu.Lock()
		defer check.mu.Unlock()
		return !check.ended.IsZero()
	}); err != nil {
		t.Fatal(err)
	}
	if err := check.Check(nil); err != nil {
		t.Error("after it was blocked:", err)
	}
	<-flushing

	core := blockedCore{zapcore.NewNopCore(), make(chan struct{}), make(chan struct{})}
	queue := logqueue.New(zap.New(core), nil)
	stalled := queue.Logger().Core().(interface{ Stalled() time.Duration })
	if d := stalled.Stalled(); d != 0 {
		t.Errorf("a Logger that has nothing to do has been at it for %s", d)
	}
	queue.Logger().Info("one")
	<-core.called
	if err := lifecycle.Poll(t.Context(), func() bool { return stalled.Stalled() > 0 }); err != nil {
		t.Error(err)
	}
	close(core.release)
	if err := queue.Close(); err != nil {
		t.Error(err)
	}
}
