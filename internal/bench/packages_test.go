// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPooledTestLinksNoServer: the sides of the pool are what users get, whatever else
// this module needs.
func TestPooledTestLinksNoServer(t *testing.T) {
	out, err := output(exec.CommandContext(t.Context(), "go", "list", "-deps", "-test", "./edit/pooled"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for name := range strings.Lines(out) {
		name = strings.TrimSpace(name)
		for _, server := range []string{"k8s.io/apiserver/", "k8s.io/kubernetes/", "go.etcd.io/", "github.com/kubembed/kubembed/pkg/controlplane"} {
			if strings.HasPrefix(name, server) {
				t.Errorf("the test has %s", name)
			}
		}
		found = found || name == "github.com/kubembed/kubembed/pkg/pool/controlplanetest"
	}
	if !found {
		t.Error("the test does not have the fixture")
	}
}
