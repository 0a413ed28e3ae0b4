// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// pkg/controlplane tests the controllers together.

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}

// start starts a control plane without other core controllers.
func start(t *testing.T) *controlplane.Server {
	t.Helper()
	server, err := controlplane.Start(t.Context(), controlplane.Config{DisableCoreControllers: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}
