package controllers_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// What the controllers do together is tested in pkg/controlplane.

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The watch cache waits at most 3 s for a resource version, and has a
		// timer for that. Nothing stops it sooner.
		goleak.IgnoreAnyFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshAndBlock"),
		goleak.IgnoreAnyFunction("k8s.io/apiserver/pkg/storage/cacher.(*watchCache).waitUntilFreshAndBlock.func2"),
	)
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
