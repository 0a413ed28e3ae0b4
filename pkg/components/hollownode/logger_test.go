// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// blockedCore is a core that blocks until release is closed.
type blockedCore struct {
	zapcore.LevelEnabler
	called  func()
	release chan struct{}
}

func (c blockedCore) With([]zapcore.Field) zapcore.Core { return c }
func (blockedCore) Sync() error                         { return nil }
func (c blockedCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(e, c)
}

func (c blockedCore) Write(zapcore.Entry, []zapcore.Field) error {
	c.called()
	<-c.release
	return nil
}

// TestLoggerThatBlocks: a Logger that blocks does not block pods, and delays the return
// of Run only briefly.
func TestLoggerThatBlocks(t *testing.T) {
	p := start(t, controlplane.Config{})
	called, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	nodes := hollownode.New(hollownode.Config{Logger: zap.New(blockedCore{zap.WarnLevel, sync.OnceFunc(func() { close(called) }), release})})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- nodes.Run(ctx, p.server.ClientConfig(), func() {}) }()
	p.create(t, "odd", "node-0", annotate(hollownode.AnnotationRunFor, "nonsense"))
	select {
	case <-called:
	case <-time.After(testwait.Timeout):
		t.Fatal("the logger is not called")
	}
	p.create(t, "next", "node-0")
	p.untilPhase(t, "next", corev1.PodRunning)
	cancel()
	select {
	case err := <-result:
		if err == nil || !strings.Contains(err.Error(), "Config.Logger: it blocks") {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(testwait.Timeout):
		t.Error("Run does not return")
	}
}
