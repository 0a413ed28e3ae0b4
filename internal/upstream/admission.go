// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

const (
	admissionPlugins = "k8s.io/apiserver/pkg/admission"
	podNodeSelector  = "k8s.io/kubernetes/plugin/pkg/admission/podnodeselector"
)

// admissionEntries are for the configurations of admission plugins and for the host's
// plugins.
var admissionEntries = []Entry{
	{
		Ours:    "internal/apiserver/admission/pluginconfiguration.go:makePlugin",
		Package: admissionPlugins, Decl: "(*Plugins).InitPlugin",
		Has:  []string{"ps.getPlugin(name, config)", "pluginInitializer.Initialize(plugin)", "ValidateInitialization(plugin)"},
		Look: "Validate makes each plugin and stops InitPlugin in the initializer: a plugin that is initialized there would start goroutines.",
	},
	{
		Ours:    "pkg/apiserver/configure_admission.go:admissionError",
		Package: admissionPlugins, Decl: "(*Plugins).InitPlugin",
		Has:  []string{`fmt.Errorf("couldn't init admission plugin %q: %v", name, err)`, `fmt.Errorf("failed to initialize admission plugin %q: %v", name, err)`},
		Look: "Errors of plugins get the name of their field by this text.",
	},
	{
		Ours:    "internal/apiserver/admission/configuration.go:Configuration",
		Package: admissionPlugins, Decl: "GetAdmissionPluginConfigurationFor",
		Has:  []string{"pluginCfg.Configuration.Raw", "os.ReadFile(pluginCfg.Path)", "klog.Fatalf"},
		Look: "Upstream gets copies of the files, because it ends the process if it cannot read one: if it returns an error now, it can have the files themselves.",
	},
	{
		Ours:    "internal/apiserver/admission/configuration.go:FromFile",
		Package: admissionPlugins, Decl: "ReadAdmissionConfiguration",
		Has: []string{
			"serializer.NewCodecFactory(configScheme, serializer.EnableStrict)", "path.Dir(configFilePath)",
			`unstructuredData["imagePolicy"]`, `unstructuredData["podNodeSelectorPluginConfig"]`,
		},
		Look: "FromFile decodes the file like it, and calls it for the old formats.",
	},
	{
		Ours:    "internal/apiserver/admission/pluginconfiguration.go:checkPodNodeSelector",
		Package: podNodeSelector, Decl: "readConfig",
		Has:  []string{"d.Decode(defaultConfig)", "continue"},
		Look: "The check keeps an endless loop and ignored errors from the host: it may be superfluous now.",
	},
	{
		Ours:    "internal/apiserver/admission/pluginconfiguration.go:checkPodNodeSelector",
		Package: podNodeSelector, Decl: "pluginConfig",
		Fields: []string{"PodNodeSelectorPluginConfig"},
		Look:   "The check refuses other fields.",
	},
	{
		Ours:    "internal/apiserver/admission/pluginconfiguration.go:checkImagePolicy",
		Package: "k8s.io/apiserver/pkg/util/webhook", Decl: "LoadKubeconfig",
		Has:  []string{"clientcmd.NewDefaultClientConfigLoadingRules()", "loadingRules.ExplicitPath = kubeConfigFile"},
		Look: "Without a path, it takes the kubeconfig of the user of the process: the check keeps that from the host.",
	},
	{
		Ours:    "internal/hostcall/failure.go:Limit",
		Package: "k8s.io/apiserver/pkg/endpoints/handlers/finisher", Decl: "finishRequest",
		Has:  []string{"case result := <-resultCh:", "case <-ctx.Done():", "errors.NewTimeoutError("},
		Look: "The calls of the host's plugins end before the request does: else this answers, without the name of the plugin.",
	},
	{
		Ours:    "pkg/apiserver/configure_admission.go:configureAdmission",
		Package: "k8s.io/apiserver/pkg/server/options", Decl: "(*AdmissionOptions).ApplyTo",
		Has: []string{
			"genericInitializer := initializer.New(kubeClient, dynamicClient, informers, c.Authorization.Authorizer, features,",
			"initializersChain := admission.PluginInitializers{initializer.NewAPIServerIDInitializer(c.APIServerID), genericInitializer}",
		},
		Look: "InitializeHosts gives the host's plugins what these initializers give upstream's.",
	},
	{
		Ours:    "internal/hostcall/answer.go:(*failureAnswer).replaces",
		Package: "k8s.io/apiserver/pkg/endpoints/filters", Decl: "withAuthorization",
		Has:  []string{"authorized, reason, err := a.Authorize(ctx, attributes)", "responsewriters.InternalError(w, req, err)"},
		Look: "The answer about an authorizer of the host that fails is 500, which AnswerFailures replaces.",
	},
	{
		Ours:    "internal/hostcall/answer.go:(*failureAnswer).replaces",
		Package: "k8s.io/apiserver/pkg/endpoints/filters/impersonation", Decl: "checkAuthorization",
		Has:  []string{"return responsewriters.ForbiddenStatusError(attributes, msg)"},
		Look: "The answer about an authorizer of the host that fails is 403, which AnswerFailures replaces.",
	},
	{
		Ours:    "internal/hostcall/answer.go:(*failureAnswer).replaces",
		Package: "k8s.io/apiserver/pkg/endpoints/handlers", Decl: "withAuthorization",
		Has:  []string{"return errors.NewInternalError(authorizerErr)"},
		Look: "The answer about an authorizer of the host that fails is 500, which AnswerFailures replaces.",
	},
	{
		Ours:    "internal/apiserver/convergence/policies.go:newPolicyPlugin",
		Package: "k8s.io/apiserver/pkg/admission/plugin/manifest", Decl: "ValidateManifestName",
		Has:  []string{"strings.HasSuffix(name, StaticConfigSuffix)"},
		Look: "The names distinguish policies of manifests from policies of the API: otherwise waits for policies do not end.",
	},
	{
		Ours:    "internal/apiserver/admission/configuration.go:(*Configuration).StaticWebhooks",
		Package: "k8s.io/apiserver/pkg/admission/plugin/webhook/config/apis/webhookadmission", Decl: "WebhookAdmission",
		Fields: []string{"TypeMeta", "KubeConfigFile", "StaticManifestsDir"},
		Look:   "The plugin of mutating webhooks is skipped while informers have none: find out if the new field adds webhooks.",
	},
}
