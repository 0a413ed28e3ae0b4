// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
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

const abacFile = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{type: ABAC, name: abac}]\n"

// policyOf is a policy of ABAC that lets a user do everything.
func policyOf(user string) string {
	return `{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"` + user + `","resource":"*"}}` + "\n"
}

// replace writes a file of the given mode, and returns its path.
func replace(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMetricHasTheFileInForce: a new policy after a file that was refused does not make
// that file the one in force.
func TestMetricHasTheFileInForce(t *testing.T) {
	metrics.RegisterMetrics()
	dir := t.TempDir()
	file, policy := filepath.Join(dir, "file"), filepath.Join(dir, "policy")
	replace(t, file, abacFile, 0o600)
	replace(t, policy, policyOf("jane"), 0o600)
	chain, err := New(Config{Source: Source{File: file, PolicyFile: policy}, ServerID: t.Name(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer chain.Close()
	replace(t, file, "bad", 0o600)
	chain.reloadFile(t.Context())
	replace(t, policy, policyOf("john"), 0o600)
	chain.reloadPolicy(t.Context())
	hash := func(content string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content))) }
	if got := hashes(t); !slices.Contains(got, hash(abacFile)) || slices.Contains(got, hash("bad")) {
		t.Errorf("got %q, want %q", got, hash(abacFile))
	}
}

// TestRefusedFilesAreReadAgain: a file that was refused for a reason outside it is
// applied when this reason is gone, and a file whose content is not valid is refused
// once.
func TestRefusedFilesAreReadAgain(t *testing.T) {
	metrics.RegisterMetrics()
	dir := t.TempDir()
	file, policy, kubeconfig := filepath.Join(dir, "file"), filepath.Join(dir, "policy"), filepath.Join(dir, "kubeconfig")
	replace(t, file, abacFile, 0o600)
	replace(t, policy, policyOf("jane"), 0o600)
	core, logs := observer.New(zap.ErrorLevel)
	denying := true
	host := Host{Name: "own", Authorizer: authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		if denying {
			return authorizer.DecisionDeny, "not now", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})}
	chain, err := New(Config{
		Source: Source{File: file, PolicyFile: policy}, Hosts: []Host{host}, RequestTimeout: time.Minute,
		Identities: Identities(nil), ServerID: t.Name(), Logger: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer chain.Close()
	chain.live.Store(true)
	reload := func(refused string) {
		t.Helper()
		chain.reloadFile(t.Context())
		chain.reloadPolicy(t.Context())
		all := logs.TakeAll()
		switch {
		case refused == "" && len(all) != 0:
			t.Errorf("got %v, want no error", all)
		case refused != "" && (len(all) != 1 || !strings.Contains(all[0].ContextMap()["error"].(string), refused)):
			t.Errorf("got %v, want one refusal: %s", all, refused)
		}
	}
	inForce := func(want string) {
		t.Helper()
		if got := string(chain.data); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	may := func(name string) {
		t.Helper()
		asked := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: name}, Verb: "get", Resource: "pods", ResourceRequest: true}
		if d, reason, err := chain.current.Load().chain[0].authorizer.Authorize(t.Context(), asked); d != authorizer.DecisionAllow {
			t.Errorf("%s: got %v, %q, %v, want them allowed", name, d, reason, err)
		}
	}

	// The mode.
	denying = false
	second := abacFile + "# second\n"
	replace(t, file, second, 0o666)
	reload("0666")
	inForce(abacFile)
	replace(t, file, second, 0o600)
	reload("")
	inForce(second)
	replace(t, policy, policyOf("john"), 0o666)
	reload("0666")
	may("jane")
	replace(t, policy, policyOf("john"), 0o600)
	reload("")
	may("john")

	// A denied identity.
	denying = true
	replace(t, file, abacFile, 0o600)
	reload("not now")
	inForce(second)
	denying = false
	reload("")
	inForce(abacFile)
	denying = true
	replace(t, policy, policyOf("jane"), 0o600)
	reload("not now")
	may("john")
	denying = false
	reload("")
	may("jane")

	// A kubeconfig that is written later.
	webhook := strings.Replace(abacFile, "]", ", {type: Webhook, name: hook, webhook: {timeout: 1s, subjectAccessReviewVersion: v1, "+
		"matchConditionSubjectAccessReviewVersion: v1, failurePolicy: NoOpinion, connectionInfo: {type: KubeConfigFile, kubeConfigFile: "+kubeconfig+"}}}]", 1)
	replace(t, file, webhook, 0o600)
	reload("no such file")
	inForce(abacFile)
	replace(t, kubeconfig, `{apiVersion: v1, kind: Config, clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}], `+
		`contexts: [{name: a, context: {cluster: a}}], current-context: a}`, 0o600)
	reload("")
	inForce(webhook)

	// Content that is not valid.
	replace(t, file, "bad", 0o600)
	reload("version/kind")
	reload("")
	replace(t, policy, "bad", 0o600)
	reload("line 1")
	reload("")
	may("jane")
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
