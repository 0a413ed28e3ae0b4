// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	policyconfigv1 "k8s.io/apiserver/pkg/admission/plugin/policy/config/apis/policyconfig/v1"
	webhookadmissionv1 "k8s.io/apiserver/pkg/admission/plugin/webhook/config/apis/webhookadmission/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	eventratelimitv1alpha1 "k8s.io/kubernetes/plugin/pkg/admission/eventratelimit/apis/eventratelimit/v1alpha1"
	podsecurityapi "k8s.io/pod-security-admission/admission/api"
	podsecurityv1 "k8s.io/pod-security-admission/admission/api/v1"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// configuration returns the configuration of a plugin.
func configuration(t testing.TB, name string, value any) apiserverv1.AdmissionPluginConfiguration {
	t.Helper()
	return must(apiserver.PluginConfiguration(name, value))(t)
}

// written writes a file that only this user can read, and returns its path.
func written(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAdmissionConfigurationInGo configures plugins by Go types. One of them is not
// enabled.
func TestAdmissionConfigurationInGo(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	p := startPlane(t, func(c *apiserver.Config) {
		c.Logger = zap.New(core)
		c.EnableAdmissionPlugins = []string{"EventRateLimit", "PodNodeSelector"}
		c.Admission.Configuration = &apiserverv1.AdmissionConfiguration{Plugins: []apiserverv1.AdmissionPluginConfiguration{
			configuration(t, "PodSecurity", &podsecurityv1.PodSecurityConfiguration{
				Defaults:   podsecurityv1.PodSecurityDefaults{Enforce: "baseline"},
				Exemptions: podsecurityv1.PodSecurityExemptions{Namespaces: []string{"kube-system"}},
			}),
			configuration(t, "EventRateLimit", &eventratelimitv1alpha1.Configuration{
				Limits: []eventratelimitv1alpha1.Limit{{Type: eventratelimitv1alpha1.NamespaceLimitType, QPS: 1, Burst: 2}},
			}),
			configuration(t, "PodNodeSelector", map[string]any{"podNodeSelectorPluginConfig": map[string]string{"clusterDefaultNodeSelector": "zone=a"}}),
			configuration(t, "ImagePolicyWebhook", map[string]string{"kind": "Broken"}),
		}}
	})
	if warnings := logs.FilterField(zap.String("plugin", "ImagePolicyWebhook")).All(); len(warnings) != 1 || !strings.Contains(warnings[0].Message, "not enabled") {
		t.Errorf("got warnings %v, want one about the plugin that is not enabled", warnings)
	}
	ns := p.namespace(t)
	privileged := pod("privileged")
	yes := true
	privileged.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	_, err := p.createPod(t, ns, privileged, metav1.CreateOptions{})
	wantRefused(t, err, `violates PodSecurity "baseline:latest"`)
	must(p.createPod(t, "kube-system", privileged, metav1.CreateOptions{}))(t)

	created := must(p.createPod(t, ns, pod("any"), metav1.CreateOptions{}))(t)
	if created.Spec.NodeSelector["zone"] != "a" {
		t.Errorf("got node selector %v, want the default", created.Spec.NodeSelector)
	}

	event := func(i int) error {
		_, err := p.admin().CoreV1().Events(ns).Create(t.Context(), &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("event-", i)}, InvolvedObject: corev1.ObjectReference{Namespace: ns, Kind: "Pod", Name: "any"},
		}, metav1.CreateOptions{})
		return err
	}
	refused := false
	for i := range 100 {
		if err := event(i); apierrors.IsTooManyRequests(err) {
			refused = true
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !refused {
		t.Error("100 events at once were accepted, want HTTP 429")
	}
}

// kubeconfig writes a kubeconfig for one server, with a token.
func kubeconfig(t testing.TB, dir, name, user, server, ca, token string) string {
	t.Helper()
	return written(t, dir, name, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: webhook, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: %q, user: {token: %q}}]
contexts: [{name: webhook, context: {cluster: webhook, user: %q}}]
current-context: webhook
`, server, ca, user, token, user))
}

// imagePolicy is a webhook of images over TLS. It counts the requests without the token.
func imagePolicy(t testing.TB, dir, token string, strangers *atomic.Int64) (url, ca string) {
	t.Helper()
	server := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			strangers.Add(1)
		}
		var review imagepolicyv1alpha1.ImageReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Status.Allowed = true
		for _, container := range review.Spec.Containers {
			if strings.HasPrefix(container.Image, "bad.example.com/") {
				review.Status.Allowed, review.Status.Reason = false, "a bad registry"
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
	ca = written(t, dir, "image-ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	return server.URL, ca
}

// staticWebhook is the manifest of a webhook that changes or refuses pods in a namespace.
func staticWebhook(t testing.TB, kind, namespace, url string, ca []byte) string {
	t.Helper()
	none, fail := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	client := admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: ca}
	meta := metav1.ObjectMeta{Name: strings.ToLower(kind) + ".static.k8s.io"}
	var object any
	if kind == "MutatingWebhookConfiguration" {
		object = &admissionregistrationv1.MutatingWebhookConfiguration{
			TypeMeta: metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: kind}, ObjectMeta: meta,
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: "mutating.example.com", ClientConfig: client, Rules: []admissionregistrationv1.RuleWithOperations{podCreation},
				FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, NamespaceSelector: inNamespace(namespace),
			}},
		}
	} else {
		object = &admissionregistrationv1.ValidatingWebhookConfiguration{
			TypeMeta: metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: kind}, ObjectMeta: meta,
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "validating.example.com", ClientConfig: client, Rules: []admissionregistrationv1.RuleWithOperations{podCreation},
				FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, NamespaceSelector: inNamespace(namespace),
			}},
		}
	}
	return string(must(json.Marshal(object))(t))
}

// staticPolicy is the manifest of a policy that refuses ConfigMaps with a name.
const staticPolicy = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: names.static.k8s.io}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  validations: [{expression: "object.metadata.name != '%s'", message: "not that name"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: names-binding.static.k8s.io}
spec: {policyName: names.static.k8s.io, validationActions: [Deny]}
`

// staticMutation is the manifest of a policy that labels ConfigMaps.
const staticMutation = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: labels.static.k8s.io}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{metadata: Object.metadata{labels: {'static': 'yes'}}}"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: labels-binding.static.k8s.io}
spec: {policyName: labels.static.k8s.io}
`

// TestAdmissionConfigurationFile configures plugins by a file, with paths relative to it:
// limited resources, a webhook of images, webhooks with credentials, and static manifests
// of webhooks and policies, which are reloaded.
func TestAdmissionConfigurationFile(t *testing.T) {
	dir := t.TempDir()
	const namespace = "webhooks"
	var strangers atomic.Int64
	imageURL, imageCA := imagePolicy(t, dir, "image-token", &strangers)
	hooks := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer hook-token" {
			strangers.Add(1)
		}
		var review admissionv1.AdmissionReview
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &review)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		kind := admissionv1.PatchTypeJSONPatch
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		switch {
		case r.URL.Path == "/mutate":
			review.Response.PatchType, review.Response.Patch = &kind, []byte(`[{"op":"add","path":"/metadata/annotations","value":{"static":"yes"}}]`)
		case review.Request.Name == "bad":
			review.Response.Allowed, review.Response.Result = false, &metav1.Status{Message: "only good pods", Code: http.StatusForbidden}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
	hooksCA := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hooks.Certificate().Raw})
	host := strings.TrimPrefix(hooks.URL, "https://")
	hookConfig := kubeconfig(t, dir, "hooks.kubeconfig", host, hooks.URL, imageCA, "hook-token")
	written(t, dir, "mutating/webhook.json", staticWebhook(t, "MutatingWebhookConfiguration", namespace, hooks.URL+"/mutate", hooksCA))
	written(t, dir, "validating/webhook.json", staticWebhook(t, "ValidatingWebhookConfiguration", namespace, hooks.URL+"/validate", hooksCA))
	written(t, dir, "policies/policy.yaml", fmt.Sprintf(staticPolicy, "bad"))
	written(t, dir, "mutations/policy.yaml", staticMutation)
	written(t, dir, "images.yaml", fmt.Sprintf("imagePolicy: {kubeConfigFile: %q, allowTTL: 50, denyTTL: 50, retryBackoff: 500}\n",
		kubeconfig(t, dir, "images.kubeconfig", "server", imageURL, imageCA, "image-token")))
	file := written(t, dir, "admission.yaml", fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ImagePolicyWebhook
  path: images.yaml
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources: [{resource: secrets, matchContains: [count/secrets]}]
- name: MutatingAdmissionWebhook
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: %[2]q, staticManifestsDir: %[1]q}
- name: ValidatingAdmissionWebhook
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: %[2]q, staticManifestsDir: %[3]q}
- name: MutatingAdmissionPolicy
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: MutatingAdmissionPolicyConfiguration, staticManifestsDir: %[4]q}
- name: ValidatingAdmissionPolicy
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: ValidatingAdmissionPolicyConfiguration, staticManifestsDir: %[5]q}
`, filepath.Join(dir, "mutating"), hookConfig, filepath.Join(dir, "validating"), filepath.Join(dir, "mutations"), filepath.Join(dir, "policies")))

	p := startPlane(t, func(c *apiserver.Config) {
		c.EnableAdmissionPlugins = []string{"ImagePolicyWebhook"}
		c.Admission.ConfigurationFile = file
	})
	ctx := t.Context()
	core := p.admin().CoreV1()
	must(core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}))(t)

	image := pod("image")
	image.Spec.Containers[0].Image = "bad.example.com/image"
	_, err := p.createPod(t, "default", image, metav1.CreateOptions{})
	wantRefused(t, err, "a bad registry")
	created := must(p.createPod(t, namespace, pod("good"), metav1.CreateOptions{}))(t)
	if created.Annotations["static"] != "yes" {
		t.Errorf("got annotations %v, want that of the static webhook", created.Annotations)
	}
	_, err = p.createPod(t, namespace, pod("bad"), metav1.CreateOptions{})
	wantRefused(t, err, "only good pods")
	_, err = core.Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "limited"}}, metav1.CreateOptions{})
	wantRefused(t, err, "insufficient quota to consume: count/secrets")
	if n := strangers.Load(); n != 0 {
		t.Errorf("%d requests of webhooks came without credentials", n)
	}

	configMap := func(name string) (*corev1.ConfigMap, error) {
		return core.ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, dryRun)
	}
	good := must(configMap("good"))(t)
	if good.Labels["static"] != "yes" {
		t.Errorf("got labels %v, want that of the static policy", good.Labels)
	}
	_, err = configMap("bad")
	wantRefused(t, err, "not that name")

	// Waits for policies of the API end although the static ones have no versions.
	policy := must(p.admin().AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "of-the-api"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: podCreation}}},
			Validations:      []admissionregistrationv1.Validation{{Expression: "true"}},
		},
	}, metav1.CreateOptions{}))(t)
	limit, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	revision := must(strconv.ParseInt(policy.ResourceVersion, 10, 64))(t)
	if err := p.WaitForStored(limit, []access.StoredChange{{Key: "/registry/validatingadmissionpolicies/of-the-api", Revision: revision}}); err != nil {
		t.Error(err)
	}

	// Manifests that are invalid leave the old ones in force.
	written(t, dir, "policies/policy.yaml", "kind: [")
	testwait.Until(t, "the metric counts the failed reload", func(context.Context) error {
		const metric = `apiserver_manifest_admission_config_controller_automatic_reloads_total{`
		for line := range strings.Lines(p.get(t, "/metrics").body) {
			if strings.HasPrefix(line, metric) && strings.Contains(line, `plugin="ValidatingAdmissionPolicy"`) && strings.Contains(line, `status="failure"`) {
				return nil
			}
		}
		return errors.New("no failure")
	})
	_, err = configMap("bad")
	wantRefused(t, err, "not that name")
	written(t, dir, "policies/policy.yaml", fmt.Sprintf(staticPolicy, "good"))
	testwait.Until(t, "the new manifest is in force", func(context.Context) error {
		_, err := configMap("good")
		return refused(err, "not that name")
	})
	must(configMap("bad"))(t)
}

// TestOldAdmissionConfigurationFile reads the format from before AdmissionConfiguration.
func TestOldAdmissionConfigurationFile(t *testing.T) {
	file := written(t, t.TempDir(), "selectors.yaml", "podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: zone=b}\n")
	p := startPlane(t, func(c *apiserver.Config) {
		c.EnableAdmissionPlugins = []string{"PodNodeSelector"}
		c.Admission.ConfigurationFile = file
	})
	created := must(p.createPod(t, "default", pod("any"), metav1.CreateOptions{}))(t)
	if created.Spec.NodeSelector["zone"] != "b" {
		t.Errorf("got node selector %v, want the default", created.Spec.NodeSelector)
	}
}

func plugin(name, before string) apiserver.AdmissionPlugin {
	return apiserver.AdmissionPlugin{Name: name, Before: before, New: func() (admission.Interface, error) { return nil, errors.New("not made") }}
}

func TestBadAdmission(t *testing.T) {
	dir := enterableDir(t)
	inGo := func(plugins ...apiserverv1.AdmissionPluginConfiguration) apiserver.Admission {
		return apiserver.Admission{Configuration: &apiserverv1.AdmissionConfiguration{Plugins: plugins}}
	}
	n := 0
	inFile := func(content string) apiserver.Admission {
		n++
		return apiserver.Admission{ConfigurationFile: written(t, dir, fmt.Sprintf("admission-%d.yaml", n), content)}
	}
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
	images := func(file string) apiserverv1.AdmissionPluginConfiguration {
		return configuration(t, "ImagePolicyWebhook", map[string]any{"imagePolicy": map[string]any{"kubeConfigFile": file}})
	}
	public := kubeconfig(t, dir, "public.kubeconfig", "server", "https://127.0.0.1:1", written(t, dir, "ca.crt", ""), "secret")
	if err := os.Chmod(public, 0o644); err != nil { //nolint:gosec // the test
		t.Fatal(err)
	}
	written(t, dir, "empty/policy.yaml", fmt.Sprintf(staticPolicy, "bad")+"---\nkind: ConfigMap\n")
	for name, c := range map[string]struct {
		enable []string
		config apiserver.Admission
		want   []string
	}{
		"both": {nil, apiserver.Admission{Configuration: &apiserverv1.AdmissionConfiguration{}, ConfigurationFile: "/file"},
			[]string{"Admission.ConfigurationFile: ", "Admission.Configuration is set too"}},
		"plugin without configuration": {[]string{"EventRateLimit"}, apiserver.Admission{},
			[]string{"EnableAdmissionPlugins[0]: ", "Admission.ConfigurationFile"}},
		"no file":             {nil, apiserver.Admission{ConfigurationFile: dir + "/missing.yaml"}, []string{"Admission.ConfigurationFile: ", "missing.yaml", "no such file"}},
		"no YAML":             {nil, inFile("a: ["), []string{"Admission.ConfigurationFile: ", "yaml"}},
		"unknown version":     {nil, inFile("apiVersion: apiserver.config.k8s.io/v9\nkind: AdmissionConfiguration\n"), []string{"Admission.ConfigurationFile: ", "apiserver.config.k8s.io/v9"}},
		"another kind":        {nil, inFile("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"), []string{"Admission.ConfigurationFile: ", "AdmissionConfiguration"}},
		"unknown field":       {nil, inFile("apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugin: []\n"), []string{"Admission.ConfigurationFile: ", `"plugin"`}},
		"no file of a plugin": {nil, inFile(head + "- {name: PodSecurity, path: missing.yaml}\n"), []string{"Admission.ConfigurationFile: ", "plugins[0] (PodSecurity)", "missing.yaml"}},
		"no such plugin":      {nil, inFile(head + "- {name: PodSecurty}\n"), []string{"Admission.ConfigurationFile: ", "plugins[0] (PodSecurty)", "no such plugin", "PodSecurity"}},
		"two configurations":  {nil, inGo(apiserverv1.AdmissionPluginConfiguration{Name: "PodSecurity"}, apiserverv1.AdmissionPluginConfiguration{Name: "PodSecurity"}), []string{"Admission.Configuration.Plugins[1]: ", "two configurations"}},
		"version in Go":       {nil, apiserver.Admission{Configuration: &apiserverv1.AdmissionConfiguration{TypeMeta: metav1.TypeMeta{APIVersion: "v9", Kind: "Pod"}}}, []string{"Admission.Configuration.APIVersion: ", "Admission.Configuration.Kind: "}},
		"missing file in Go":  {nil, inGo(apiserverv1.AdmissionPluginConfiguration{Name: "PodSecurity", Path: "/missing.yaml"}), []string{"Admission.Configuration.Plugins[0].Path: ", "no such file"}},
		"configuration of another plugin": {nil, inGo(configuration(t, "PodSecurity", &webhookadmissionv1.WebhookAdmission{})),
			[]string{"Admission.Configuration.Plugins[0]: ", "WebhookAdmission"}},
		"unknown version of a plugin": {nil, inGo(configuration(t, "PodSecurity", map[string]string{"apiVersion": "pod-security.admission.config.k8s.io/v9", "kind": "PodSecurityConfiguration"})),
			[]string{"Admission.Configuration.Plugins[0]: ", "v9"}},
		"value of a plugin": {nil, inGo(configuration(t, "PodSecurity", &podsecurityv1.PodSecurityConfiguration{Defaults: podsecurityv1.PodSecurityDefaults{Enforce: "strict"}})),
			[]string{"Admission.Configuration.Plugins[0]: ", "defaults.enforce", "strict"}},
		"no limits":    {[]string{"EventRateLimit"}, inGo(configuration(t, "EventRateLimit", &eventratelimitv1alpha1.Configuration{})), []string{"Admission.Configuration.Plugins[0]: ", "limits"}},
		"no selectors": {[]string{"PodNodeSelector"}, inGo(configuration(t, "PodNodeSelector", map[string]string{})), []string{"Admission.Configuration.Plugins[0]: ", "podNodeSelectorPluginConfig is missing"}},
		"selectors that are no YAML": {[]string{"PodNodeSelector"}, inFile(head + "- {name: PodNodeSelector, path: " + written(t, dir, "broken.yaml", "{") + "}\n"),
			[]string{"Admission.ConfigurationFile: ", "plugins[0] (PodNodeSelector)", "yaml"}},
		"bad selector":               {[]string{"PodNodeSelector"}, inGo(configuration(t, "PodNodeSelector", map[string]any{"podNodeSelectorPluginConfig": map[string]string{"mine": "a=b=c"}})), []string{"podNodeSelectorPluginConfig.mine"}},
		"webhook without kubeconfig": {[]string{"ImagePolicyWebhook"}, inGo(images("")), []string{"Admission.Configuration.Plugins[0]: ", "imagePolicy.kubeConfigFile is missing"}},
		"missing kubeconfig":         {[]string{"ImagePolicyWebhook"}, inGo(images("/missing.kubeconfig")), []string{"Admission.Configuration.Plugins[0]: ", "/missing.kubeconfig"}},
		"public kubeconfig":          {[]string{"ImagePolicyWebhook"}, inGo(images(public)), []string{"Admission.Configuration.Plugins[0]: ", "public.kubeconfig", "chmod o-r"}},
		"public kubeconfig of webhooks": {nil, inGo(configuration(t, "ValidatingAdmissionWebhook", &webhookadmissionv1.WebhookAdmission{KubeConfigFile: public})),
			[]string{"Admission.Configuration.Plugins[0]: ", "public.kubeconfig", "chmod o-r"}},
		"relative kubeconfig":       {nil, inGo(configuration(t, "MutatingAdmissionWebhook", &webhookadmissionv1.WebhookAdmission{KubeConfigFile: "hooks"})), []string{"kubeConfigFile", "absolute"}},
		"no directory of manifests": {nil, inGo(configuration(t, "MutatingAdmissionWebhook", &webhookadmissionv1.WebhookAdmission{StaticManifestsDir: dir + "/none"})), []string{"staticManifestsDir", "no such file"}},
		"manifest of another kind": {nil, inGo(configuration(t, "ValidatingAdmissionPolicy", &policyconfigv1.ValidatingAdmissionPolicyConfiguration{StaticManifestsDir: dir + "/empty"})),
			[]string{"Admission.Configuration.Plugins[0]: ", "staticManifestsDir", "policy.yaml"}},

		"no name":            {nil, apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{plugin("", "")}}, []string{"Admission.Plugins[0].Name: Required"}},
		"no New":             {nil, apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{{Name: "Mine"}}}, []string{"Admission.Plugins[0].New: Required"}},
		"a strange name":     {nil, apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{plugin("my plugin", "")}}, []string{"Admission.Plugins[0].Name: Invalid"}},
		"name of upstream's": {nil, apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{plugin("PodSecurity", "")}}, []string{"Admission.Plugins[0].Name: Invalid", "choose another"}},
		"two of one name":    {nil, apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{plugin("Mine", ""), plugin("Mine", "")}}, []string{"Admission.Plugins[1].Name: Duplicate"}},
		"unknown Before":     {nil, apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{plugin("Mine", "Yours")}}, []string{"Admission.Plugins[0].Before: Unsupported", `"Yours"`, `"PodSecurity"`}},
		"Before itself":      {nil, apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{plugin("Mine", "Mine")}}, []string{"Admission.Plugins[0].Before: Invalid"}},
		"configuration of the host's": {nil, apiserver.Admission{
			Configuration: &apiserverv1.AdmissionConfiguration{Plugins: []apiserverv1.AdmissionPluginConfiguration{{Name: "Mine"}}},
			Plugins:       []apiserver.AdmissionPlugin{plugin("Mine", "")},
		}, []string{"Admission.Configuration.Plugins[0]: ", "plugin of the host"}},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.HasPrefix(name, "public") {
				t.Skip("access lists")
			}
			err := access.ValidateOptional(apiserver.Config{EnableAdmissionPlugins: c.enable, Admission: c.config}).ToAggregate()
			if err == nil {
				t.Fatalf("got no error, want %q", c.want)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

// TestDisabledAdmissionConfiguration: the configuration of a plugin that is not enabled
// is not read further, as with kube-apiserver.
func TestDisabledAdmissionConfiguration(t *testing.T) {
	broken := apiserverv1.AdmissionPluginConfiguration{Name: "EventRateLimit"}
	broken.Configuration = configuration(t, "EventRateLimit", map[string]string{"kind": "Broken"}).Configuration
	if err := access.ValidateOptional(apiserver.Config{Admission: apiserver.Admission{
		Configuration: &apiserverv1.AdmissionConfiguration{Plugins: []apiserverv1.AdmissionPluginConfiguration{broken}},
	}}).ToAggregate(); err != nil {
		t.Error(err)
	}
}

func TestPluginConfiguration(t *testing.T) {
	object := &podsecurityv1.PodSecurityConfiguration{}
	raw := configuration(t, "PodSecurity", object).Configuration.Raw
	if want := `"kind":"PodSecurityConfiguration","apiVersion":"pod-security.admission.config.k8s.io/v1"`; !strings.Contains(string(raw), want) {
		t.Errorf("got %s, want %s in it", raw, want)
	}
	if object.Kind != "" {
		t.Errorf("the caller's object has changed: %+v", object)
	}
	object.Kind, object.APIVersion = "Other", "example.com/v1"
	if raw := configuration(t, "PodSecurity", object).Configuration.Raw; !strings.Contains(string(raw), `"kind":"Other"`) {
		t.Errorf("got %s, want the kind that was set", raw)
	}
	for _, bad := range []any{&podsecurityapi.PodSecurityConfiguration{}, &corev1.Pod{}, make(chan int)} {
		if _, err := apiserver.PluginConfiguration("PodSecurity", bad); !contains(err, "PodSecurity") {
			t.Errorf("%T: got %v, want an error with the plugin", bad, err)
		}
	}
}
