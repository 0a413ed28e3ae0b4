package controlplanetest

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// ControlPlane is a running control plane of a test, or of the tests of a
// package. Its methods are safe for concurrent use.
type ControlPlane struct {
	*controlplane.Server
	config Config
	// owner is the test, or the package, at whose end the control plane stops.
	owner string
	ended atomic.Bool
}

// New starts a control plane, and returns when it is ready. It stops at the end
// of the test, after the cleanup functions that are registered later. A start
// that fails fails the test.
func New(t TB, cfg Config) *ControlPlane {
	t.Helper()
	cp, err := start(t.Name(), cfg)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		if err := cp.end(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return cp
}

func start(owner string, cfg Config) (*ControlPlane, error) {
	server, err := controlplane.Start(context.Background(), cfg.ControlPlane)
	if err != nil {
		return nil, fmt.Errorf("controlplanetest: %w", err)
	}
	return &ControlPlane{Server: server, config: cfg, owner: owner}, nil
}

// end stops the control plane. What failed by itself before is an error.
func (cp *ControlPlane) end() error {
	cp.ended.Store(true)
	failed := cp.Err()
	if err := cp.Close(); err != nil && failed == nil {
		failed = err
	}
	if failed != nil {
		return fmt.Errorf("controlplanetest: %w", failed)
	}
	return nil
}

// ClientConfig returns a client configuration for an administrator, as
// controlplane.Server.ClientConfig does. Requests after the end of the test fail
// with an error that names the test.
func (cp *ControlPlane) ClientConfig() *rest.Config {
	config := cp.Server.ClientConfig()
	config.Wrap(cp.guard)
	return config
}

func (cp *ControlPlane) guard(next http.RoundTripper) http.RoundTripper {
	return guarded{cp, next}
}

type guarded struct {
	cp   *ControlPlane
	next http.RoundTripper
}

func (g guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if g.cp.ended.Load() {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, fmt.Errorf("controlplanetest: the control plane of %s has ended with it", g.cp.owner)
	}
	return g.next.RoundTrip(req)
}

// WrappedRoundTripper is for client-go, which looks for the transport inside.
func (g guarded) WrappedRoundTripper() http.RoundTripper { return g.next }
