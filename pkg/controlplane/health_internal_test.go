// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apiserver/pkg/server/healthz"
)

// TestHealthLogsChanges: each check logs one line when a fault starts and one when it
// ends.
func TestHealthLogsChanges(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	var fault error
	check := healthz.NamedCheck("etcd-data", func(*http.Request) error { return fault })
	h := &health{logger: zap.New(core), faults: map[string]time.Time{}, timeout: time.Minute}
	for _, now := range []error{nil, errors.New("CORRUPT"), errors.New("CORRUPT still"), nil, nil, errors.New("again")} {
		fault = now
		h.look(t.Context(), namedCheck{check.Name(), check.Check})
	}
	want := []struct {
		level   zapcore.Level
		message string
	}{
		{zapcore.WarnLevel, "the control plane is not ready"},
		{zapcore.InfoLevel, "the control plane is ready again"},
		{zapcore.WarnLevel, "the control plane is not ready"},
	}
	if logs.Len() != len(want) {
		t.Fatalf("log: got %v, want %d lines", logs.All(), len(want))
	}
	for i, entry := range logs.All() {
		if entry.Level != want[i].level || entry.Message != want[i].message || entry.ContextMap()["check"] != "etcd-data" {
			t.Errorf("line %d: got %v %v, want %v %q of the check etcd-data", i, entry.Entry, entry.ContextMap(), want[i].level, want[i].message)
		}
	}
}
