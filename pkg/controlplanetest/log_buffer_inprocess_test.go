// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// TestLogs: a test shows the log lines of its duration if it fails, and only then. A
// shared control plane's earlier lines are left out.
func TestLogs(t *testing.T) {
	t.Parallel()
	for name, get := range planes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			get(t) // klog's lines go to control planes that run
			klog.Error("before ", name)
			for _, fail := range []bool{false, true} {
				var r recorder
				r.run(func(t controlplanetest.TB) {
					get(t)
					klog.Error("meanwhile ", name)
					if fail {
						t.Fatalf("on purpose")
					}
				})
				text := r.text()
				if strings.Contains(text, "meanwhile "+name) != fail || strings.Contains(text, "before "+name) {
					t.Errorf("failed %v:\n%s", fail, text)
				}
				if r.failed != fail {
					t.Errorf("failed %v, not %v", r.failed, fail)
				}
			}
		})
	}
}

// TestLogEndsWithTheFailure: the log of the test and the log in a dump have no lines of
// the stop.
func TestLogEndsWithTheFailure(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	r := recorder{name: "TestFails"}
	r.run(func(t controlplanetest.TB) {
		controlplanetest.New(t, controlplanetest.Config{DumpOnFailure: directory})
		klog.Error("just before it failed")
		t.Fatalf("on purpose")
	})
	dumped, err := os.ReadFile(filepath.Join(directory, "TestFails", "controlplane.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{r.text(), string(dumped)} {
		if !strings.Contains(text, "just before it failed") || strings.Contains(text, "stopping") {
			t.Error(text)
		}
	}
}

// A logger of the user's gets the lines.
func TestLoggerOfOnesOwn(t *testing.T) {
	t.Parallel()
	var cfg controlplanetest.Config
	cfg.ControlPlane.Logger = zap.NewNop()
	var r recorder
	r.run(func(t controlplanetest.TB) {
		controlplanetest.New(t, cfg)
		klog.Error("not to be seen")
		t.Fatalf("on purpose")
	})
	if r.text() != "on purpose" {
		t.Error(r.text())
	}
}
