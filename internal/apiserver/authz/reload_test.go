// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
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

// TestSetIsReported: a change in Go is in the log and in upstream's metric, as a change
// of the file is, and so is one that is refused.
func TestSetIsReported(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy")
	if err := os.WriteFile(policy, []byte(`{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"jane"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	abac := func(name string) *apiserverv1.AuthorizationConfiguration {
		return &apiserverv1.AuthorizationConfiguration{Authorizers: []apiserverv1.AuthorizerConfiguration{{Type: "ABAC", Name: name}}}
	}
	chain, err := New(Config{Source: Source{Configuration: abac("abac"), PolicyFile: policy}, ServerID: t.Name(), Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer chain.Close()
	if err := chain.Set(t.Context(), abac("abac")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []*apiserverv1.AuthorizationConfiguration{nil, abac("")} {
		if err := chain.Set(t.Context(), bad); err == nil {
			t.Errorf("%v: got no error", bad)
		}
	}
	content, err := json.Marshal(abac("abac"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hashes(t), fmt.Sprintf("sha256:%x", sha256.Sum256(content)); !slices.Contains(got, want) {
		t.Errorf("got hashes %q, want %q", got, want)
	}
	for status, want := range map[string]struct {
		line  string
		times int
	}{"success": {"the authorization configuration was replaced", 1}, "failure": {"the authorization configuration was not replaced", 2}} {
		if got := logs.FilterMessageSnippet(want.line).Len(); got != want.times {
			t.Errorf("got %d lines with %q, want %d: %v", got, want.line, want.times, logs.All())
		}
		if got := reloads(t, status, t.Name()); got != want.times {
			t.Errorf("got %s %d times in the metric, want %d", status, got, want.times)
		}
	}
}

// reloads returns the value of upstream's counter for a server.
func reloads(t *testing.T, status, server string) int {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "apiserver_authorization_config_controller_automatic_reloads_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			if labels["status"] == status && labels["apiserver_id_hash"] == fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(server))) {
				return int(metric.GetCounter().GetValue())
			}
		}
	}
	return 0
}
