// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubembed/kubembed/pkg/pki"
)

// TestDamagedKeysNameNewCluster: the error names NewCluster too, because a control plane
// refuses to start without the file that package pki advises to delete.
func TestDamagedKeysNameNewCluster(t *testing.T) {
	for _, file := range []string{"ca.crt", "sa.key", "sa.pub"} {
		dir := t.TempDir()
		if _, err := pki.Open(pki.Config{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := pki.Open(pki.Config{Dir: dir})
		if err == nil {
			t.Fatalf("%s: got no error, want one", file)
		}
		text := pkiError(err).Error()
		for _, part := range []string{file, "delete", "Config.NewCluster"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: got %s, want %q in it", file, text, part)
			}
		}
	}
}

// TestFutureCANamesNewCluster: the same for a CA that is valid from a future time.
func TestFutureCANamesNewCluster(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Open(pki.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	_, err := pki.Open(pki.Config{Dir: dir, Clock: clocktesting.NewFakePassiveClock(time.Unix(0, 0))})
	if err == nil {
		t.Fatal("got no error, want one")
	}
	text := pkiError(err).Error()
	for _, part := range []string{"set the clock", "replace ca.crt and ca.key", "Config.NewCluster"} {
		if !strings.Contains(text, part) {
			t.Errorf("got %s, want %q in it", text, part)
		}
	}
}
