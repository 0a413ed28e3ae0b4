// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestReadyzChecksAreNotAwaited: /readyz has the checks, and Start returns while they
// fail.
func TestReadyzChecksAreNotAwaited(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.ReadyzChecks = []healthz.HealthChecker{healthz.NamedCheck("part/red", func(*http.Request) error { return errors.New("no") })}
	})
	client := kubernetes.NewForConfigOrDie(p.ClientConfig()).RESTClient()
	body, err := client.Get().AbsPath("/readyz").DoRaw(t.Context())
	if err == nil || !strings.Contains(string(body), "[-]part/red failed") || strings.Count(string(body), "[-]") != 1 {
		t.Errorf("got error %v, want only part/red to fail:\n%s", err, body)
	}
}
