package controllers_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// What the controllers do together is tested in pkg/controlplane.

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}

// start starts a control plane in which nothing else collects.
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

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := lifecycle.Poll(ctx, done); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
