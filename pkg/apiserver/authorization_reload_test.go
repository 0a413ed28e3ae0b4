// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// chainFile is a configuration file with these authorizers.
func chainFile(authorizers ...string) string {
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n"
	for _, a := range authorizers {
		text += a
	}
	return text
}

const (
	nodeItem = "- {type: Node, name: node}\n"
	rbacItem = "- {type: RBAC, name: rbac}\n"
	abacItem = "- {type: ABAC, name: abac}\n"
)

func webhookItem(name, kubeconfig string) string {
	return fmt.Sprintf(`- type: Webhook
  name: %s
  webhook:
    timeout: 10s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: NoOpinion
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %q}
    matchConditions: [{expression: 'request.user.startsWith("hook-")'}]
`, name, kubeconfig)
}

// policyFor is a policy of ABAC that lets a user read everything.
func policyFor(user string) string {
	return fmt.Sprintf("# users who may read\n"+`{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":%q,"namespace":"*","resource":"*","apiGroup":"*","readonly":true}}`+"\n", user)
}

// reloads returns the value of upstream's counter of reloads.
func (p *plane) reloads(t testing.TB, status string) int {
	t.Helper()
	sum := 0
	metric := regexp.MustCompile(`(?m)^apiserver_authorization_config_controller_automatic_reloads_total\{.*status="` + status + `"\} (\d+)$`)
	for _, match := range metric.FindAllStringSubmatch(p.get(t, "/metrics").body, -1) {
		sum += must(strconv.Atoi(match[1]))(t)
	}
	return sum
}

// allowed waits until a user may list secrets, or may not.
func allowed(t testing.TB, client kubernetes.Interface, want bool) {
	t.Helper()
	testwait.Until(t, fmt.Sprintf("allowed: %t", want), func(ctx context.Context) error {
		if err := listSecrets(ctx, client); (err == nil) != want {
			return fmt.Errorf("got %w", errors.Join(err, errors.New("want the other")))
		}
		return nil
	})
}

func TestAuthorizationFiles(t *testing.T) {
	hook := newAuthorizationWebhook(t, answers)
	core, logs := observer.New(zap.InfoLevel)
	chain := writeFile(t, "authorization.yaml", chainFile(nodeItem, rbacItem, abacItem), 0o644)
	policy := writeFile(t, "policy.jsonl", policyFor("hook-denied"), 0o644)
	p := startPlane(t, func(c *apiserver.Config) {
		c.Logger = zap.New(core)
		c.Authorization = apiserver.Authorization{ConfigurationFile: chain, PolicyFile: policy}
	})
	first, second := clientset(t, p.as(t, "hook-denied")), clientset(t, p.as(t, "jane"))
	allowed(t, first, true)
	wantForbidden(t, "not in the policy", listSecrets(t.Context(), second))
	wantForbidden(t, "readonly", first.CoreV1().Secrets("default").Delete(t.Context(), "any", metav1.DeleteOptions{}))
	// refused waits for a file that is refused, and checks that the first one is in
	// force.
	refused := func(t *testing.T, path, content string, mode os.FileMode, want string) {
		t.Helper()
		before, failures := logs.FilterMessageSnippet("was not replaced").Len(), p.reloads(t, "failure")
		replaceFile(t, path, content, mode)
		testwait.Until(t, "a line in the log", func(context.Context) error {
			if lines := logs.FilterMessageSnippet("was not replaced").All(); len(lines) > before && contains(lines[len(lines)-1].Context[1].Interface.(error), want) {
				return nil
			}
			return fmt.Errorf("got %v, want %q", logs.All(), want)
		})
		if got := p.reloads(t, "failure"); got <= failures {
			t.Errorf("got %d failures in the metric, want more than %d", got, failures)
		}
		allowed(t, first, true)
	}

	t.Run("policy", func(t *testing.T) {
		successes := p.reloads(t, "success")
		replaceFile(t, policy, policyFor("jane"), 0o644)
		allowed(t, second, true)
		allowed(t, first, false)
		testwait.Until(t, "the metric", func(context.Context) error {
			if got := p.reloads(t, "success"); got <= successes {
				return fmt.Errorf("got %d, want more than %d", got, successes)
			}
			return nil
		})
		replaceFile(t, policy, policyFor("hook-denied"), 0o644)
		allowed(t, first, true)
		refused(t, policy, "no JSON", 0o644, "line 1")
		refused(t, policy, `{"apiVersion":"abac.authorization.kubernetes.io/v9","kind":"Policy"}`, 0o644, "line 1")
	})
	t.Run("chain", func(t *testing.T) {
		for content, want := range map[string]string{
			"no YAML":                        "Config.Authorization.ConfigurationFile: Invalid value",
			"":                               "authorizers: Required value",
			chainFile(nodeItem, rbacItem):    "missing required types: [ABAC]",
			"apiVersion: v9\nkind: Anything": `no kind "Anything" is registered`,
			chainFile(nodeItem, rbacItem, abacItem, "- {type: OPA, name: opa}\n"):           "authorizers[3].type: Unsupported value",
			chainFile(nodeItem, rbacItem, abacItem, webhookItem("hook", "/nowhere/at-all")): "/nowhere/at-all",
			chainFile(nodeItem, rbacItem, abacItem) + "unknown: true\n":                     "unknown field",
			chainFile(nodeItem, rbacItem, abacItem, webhookItem("rbac", hook.kubeconfig)):   "authorizers[3].name: Duplicate value",
		} {
			refused(t, chain, content, 0o644, want)
		}
		refused(t, chain, chainFile(webhookItem("hook", hook.kubeconfig), nodeItem, rbacItem, abacItem), 0o666, "mode 0666")
		if err := os.Chmod(chain, 0o644); err != nil {
			t.Fatal(err)
		}
		allowed(t, first, false)
		if hook.about("hook-denied") == 0 {
			t.Error("the webhook was not asked")
		}
		replaceFile(t, chain, chainFile(nodeItem, rbacItem, abacItem), 0o644)
		allowed(t, first, true)
	})
	t.Run("Go type", func(t *testing.T) {
		if err := p.SetAuthorization(t.Context(), chainOf(nodeType, rbacType, abacType)); !contains(err, "Config.Authorization.ConfigurationFile: it is set: change the file "+chain) {
			t.Errorf("got %v, want an error: the server follows the file", err)
		}
	})
}

// TestAuthorizationReloadUnderLoad replaces the configuration file 200 times while 16
// clients work: half of them by a webhook without a cache, four by one with a cache, and
// four by RBAC. No request may fail for it. Each good file changes both webhooks, so that
// their authorizers are replaced while they are in use.
func TestAuthorizationReloadUnderLoad(t *testing.T) {
	hook := newAuthorizationWebhook(t, answers)
	core, logs := observer.New(zap.InfoLevel)
	// item asks the webhook about the user of its name only.
	item := func(name string, ttl int, fields string) string {
		return strings.Replace(webhookItem(name, hook.kubeconfig), `"hook-"`, `"hook-allowed-`+name+`"`, 1) + fmt.Sprintf("    unauthorizedTTL: %ds\n", ttl) + fields
	}
	cached := func(ttl int) string { return item("cached", ttl, "") }
	uncached := func(ttl int) string {
		return item("uncached", ttl, "    cacheAuthorizedRequests: false\n    cacheUnauthorizedRequests: false\n")
	}
	files := []string{
		chainFile(nodeItem, rbacItem, uncached(1), cached(1)),
		chainFile(cached(2), uncached(2), rbacItem, nodeItem),
		"a bad file",
		chainFile(uncached(3), rbacItem, nodeItem, cached(3)),
	}
	chain := writeFile(t, "authorization.yaml", files[0], 0o600)
	p := startPlane(t, func(c *apiserver.Config) {
		c.Logger = zap.New(core)
		c.Authorization.ConfigurationFile = chain
		c.Authorization.Authorizers = []apiserver.Authorizer{{Name: "table", Before: "rbac", Authorizer: table{}}}
	})
	p.bind(t, "jane", "cluster-admin")
	replaceUnderLoad(t, chain, files, logs, "the authorization configuration was replaced", "the authorization configuration was not replaced", func(i int) func(context.Context) error {
		name := []string{"hook-allowed-uncached", "hook-allowed-cached", "hook-allowed-uncached", "jane"}[i%4]
		client := clientset(t, p.as(t, name))
		return func(ctx context.Context) error { return listSecrets(ctx, client) }
	})
}
