// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// keepInterval is the interval at which a kept control plane looks for its kubeconfig.
const keepInterval = 200 * time.Millisecond

// keep keeps the control plane of a failed test until the user removes the kubeconfig or
// ctx ends. It does so once for each owning test.
func (cp *ControlPlane) keep(ctx context.Context, name string) error {
	if !cp.config.KeepOnFailure || cp.dead() || !cp.failures.keepOnce() {
		return nil
	}
	// Not in t.TempDir: Ginkgo forbids a cleanup within a cleanup.
	dir, err := cp.tempDir("keep")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	var path string
	if err == nil {
		path, err = cp.writeKubeconfig(dir, "kubernetes-admin", "system:masters")
	}
	if err != nil {
		return fmt.Errorf("controlplanetest: Config.KeepOnFailure: %w", err)
	}
	// Not by t.Logf, which shows nothing before the test ends.
	fmt.Fprintf(os.Stderr, "\n%s has failed. Its control plane runs until you remove this kubeconfig or end the test (run with -timeout=0 to keep it longer than ten minutes):\n"+
		"\tkubectl --kubeconfig=%s get all --all-namespaces\n"+
		"\trm %s\n", name, path, path)
	// The end of ctx is no error.
	_ = wait.PollUntilContextCancel(ctx, keepInterval, false, func(context.Context) (bool, error) {
		_, err := os.Stat(path)
		return os.IsNotExist(err) || cp.dead(), nil
	})
	return nil
}

// writeKubeconfig writes a kubeconfig to a directory and returns its path.
func (cp *ControlPlane) writeKubeconfig(dir, user string, groups ...string) (string, error) {
	data, err := cp.Kubeconfig(user, groups...)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, fileName(user)+".kubeconfig")
	return path, os.WriteFile(path, data, 0o600)
}
