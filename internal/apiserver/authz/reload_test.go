// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/server/options/authorizationconfig/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// hashes returns the hashes of configurations in upstream's metric.
func hashes(t *testing.T) (hashes []string) {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "apiserver_authorization_config_controller_last_config_info" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "hash" {
					hashes = append(hashes, label.GetValue())
				}
			}
		}
	}
	return hashes
}

// TestMetricHasTheFileInForce: a new policy after a file that was refused does not make
// that file the one in force.
func TestMetricHasTheFileInForce(t *testing.T) {
	metrics.RegisterMetrics()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const good = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{type: ABAC, name: abac}]\n"
	policy := func(user string) string {
		return `{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"` + user + `","resource":"*"}}` + "\n"
	}
	chain, err := New(Config{Source: Source{File: write("file", good), PolicyFile: write("policy", policy("jane"))}, ServerID: t.Name(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer chain.Close()
	write("file", "bad")
	chain.reloadFile(t.Context())
	write("policy", policy("john"))
	chain.reloadPolicy(t.Context())
	hash := func(content string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content))) }
	if got := hashes(t); !slices.Contains(got, hash(good)) || slices.Contains(got, hash("bad")) {
		t.Errorf("got %q, want %q", got, hash(good))
	}
}
