// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/etcd"
)

func TestInterruptedStartIsNoError(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := run(ctx, []string{"--bind-address=127.0.0.1:0"}, newOutput(""), newOutput("")); err != nil {
		t.Error(err)
	}
}

func TestSecondMasterOnTheSameDataDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	start(t, "--data-dir="+dir)
	err := fails(t, "--bind-address=127.0.0.1:0", "--data-dir="+dir)
	if !errors.Is(err, etcd.ErrInUse) || !strings.Contains(err.Error(), "--data-dir: "+dir) || strings.Contains(err.Error(), "Config.") {
		t.Error(err)
	}
}
