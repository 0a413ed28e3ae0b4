// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"errors"
	"testing"

	"k8s.io/apiserver/pkg/admission"

	"github.com/kubembed/kubembed/internal/apiserver/convergence"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestPolicyIntervalOfServers: policies come into force soon after they change in a
// process with an API server. A server that has stopped, or did not start, no longer
// counts. The test is not parallel: it is about the process.
func TestPolicyIntervalOfServers(t *testing.T) {
	others := convergence.PolicyIntervalUsers()
	p, err := newPlane(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := convergence.PolicyIntervalUsers(), others+1; got != want {
		t.Errorf("with one more server: got %d users of the short interval, want %d", got, want)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if _, err := newPlane(t.TempDir(), func(c *apiserver.Config) {
		c.Admission.Plugins = []apiserver.AdmissionPlugin{{Name: "Broken", New: func() (admission.Interface, error) { return nil, errors.New("broken") }}}
	}); err == nil {
		t.Error("a server with a broken plugin started")
	}
	if got := convergence.PolicyIntervalUsers(); got != others {
		t.Errorf("after the server has stopped and another has failed: got %d users of the short interval, want %d", got, others)
	}
}
