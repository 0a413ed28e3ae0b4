// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

const (
	policies = "k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	crds     = "k8s.io/apiextensions-apiserver/pkg/apiserver"
)

// convergenceEntries are for waits that end when changes affect requests: they read by
// reflection the objects that upstream's plugins and handlers use.
var convergenceEntries = []Entry{
	// Admission policies in force.
	{
		Ours:    "internal/apiserver/convergence/policies.go:policySource",
		Package: policies, Decl: "(*policySource).refreshPolicies",
		Has:  []string{"s.policiesDirty.Swap(false)", "policies, err := s.calculatePolicyData()", "s.policies.Store(&policies)"},
		Look: "Waits for policies end when the compiled ones are in force, which is after the pass: see where that is now.",
	},
	{
		Ours:    "internal/apiserver/convergence/policies.go:policySource",
		Package: policies, Decl: "(*policySource).Run",
		Has:  []string{"s.UpstreamHasSynced", "s.notify()", "s.refreshPolicies()", "s.policyInformer.AddEventHandler(notifyFuncs)", "s.bindingInformer.AddEventHandler(notifyFuncs)", "wait.Until(s.refreshPolicies, interval, ctx.Done())"},
		Look: "Policies are compiled at the start and then in a loop if they have changed: waits for policies count on it.",
	},
	{
		Ours:    "internal/apiserver/convergence/policyinterval.go:processPolicies",
		Package: policies, Decl: "SetPolicyRefreshIntervalForTests",
		Has:  []string{"policyRefreshInterval = interval", "policyRefreshInterval = policyRefreshIntervalDefault"},
		Look: "The interval is set by each first server of a process and upstream's again after the last: else policies come into force within a second.",
	},
	{
		Ours:    "internal/apiserver/informers/passes.go:policyInformer.HasSynced",
		Package: policies, Decl: "(*policySource).refreshPolicies",
		Has:  []string{"if !s.UpstreamHasSynced()", "s.policiesDirty.Swap(false)", "s.calculatePolicyData()"},
		Look: "The question before a pass blocks until policies have changed; without it an idle server asks 50 times a second.",
	},
	{
		Ours:    "internal/apiserver/informers/passes.go:bindingIndexer.List",
		Package: policies, Decl: "(*policySource).calculatePolicyData",
		Has:  []string{"if !s.UpstreamHasSynced()", "s.bindingInformer.List(labels.Everything())", "inf.Get(policyKey.Name)"},
		Look: "A pass begins with the list of bindings; if it reads policies before, a change of them may wait for a second.",
	},
	{
		Ours:    "internal/apiserver/informers/passes.go:policyInformer.HasSynced",
		Package: policies, Decl: "UpstreamHasSynced",
		Users: []string{"(*policySource).Run", "(*policySource).calculatePolicyData", "(*policySource).refreshPolicies"},
		Look:  "HasSynced of policies blocks for up to a second, once for a pass: another that asks would be held up.",
	},
	{
		Ours:    "internal/apiserver/convergence/policies.go:policySource",
		Package: policies, Decl: "(*policySource).Hooks",
		Has:  []string{"res := s.policies.Load()", "return *res"},
		Look: "Admission uses the policies that Hooks returns.",
	},
	{
		Ours:    "internal/apiserver/convergence/policies.go:policySource",
		Package: policies, Decl: "(*policySource).calculatePolicyData",
		Has:  []string{"bindingList, err := s.bindingInformer.List(labels.Everything())", "policySpec, err := inf.Get(policyKey.Name)"},
		Look: "A policy is in force with its bindings, and one without is not.",
	},
	{
		Ours:    "internal/apiserver/convergence/policies.go:policySource",
		Package: policies, Decl: "Plugin.source",
		Has:  []string{"Source[H]"},
		Look: "Waits for policies read it, by reflection: without it they fail.",
	},

	// Webhooks that admission calls.
	{
		Ours: "internal/apiserver/convergence/webhooks.go:webhookSource", Package: "k8s.io/apiserver/pkg/admission/plugin/webhook/generic", Decl: "Webhook.apiSource",
		Has:  []string{"Source"},
		Look: "Waits for webhooks read it, by reflection: without it a request may bring old webhooks back for good.",
	},
	{
		Ours: "internal/apiserver/convergence/webhooks.go:webhookPlugin.inForce", Package: "k8s.io/apiserver/pkg/admission/configuration", Decl: "(*mutatingWebhookConfigurationManager).getMutatingWebhookConfigurations",
		Has:  []string{"m.configurationsCache.Load(c.Name)", "m.configurationsCache.Store(c.Name, configurationAccessors)"},
		Look: "A request that reads a configuration before it changes stores the old webhooks after they were dropped: inForce finds that, and calls the handler again.",
	},
	{
		Ours: "internal/apiserver/convergence/webhooks.go:webhookPlugin.inForce", Package: "k8s.io/apiserver/pkg/admission/configuration", Decl: "(*validatingWebhookConfigurationManager).getValidatingWebhookConfigurations",
		Has:  []string{"v.configurationsCache.Load(c.Name)", "v.configurationsCache.Store(c.Name, configurationAccessors)"},
		Look: "The same, for validating webhooks.",
	},

	// CRDs: the storages of custom resources.
	{
		Ours: "internal/apiserver/crd/storages.go:(*Storages).Find", Package: "k8s.io/apiserver/pkg/server/mux", Decl: "PathRecorderMux.pathToHandler",
		Has:  []string{"map[string]http.Handler"},
		Look: "The handler of custom resources is found by it: without it waits for CRDs fail.",
	},
	{
		Ours: "internal/apiserver/crd/storages.go:(*Storages).Find", Package: crds, Decl: "crdHandler.customStorageLock",
		Has:  []string{"sync.Mutex"},
		Look: "Its holder makes a storage for a CRD that may have changed: without it waits for CRDs fail.",
	},
	{
		Ours: "internal/apiserver/crd/storages.go:(*Storages).Find", Package: crds, Decl: "crdHandler.customStorage",
		Has:  []string{"atomic.Value"},
		Look: "It has the storages that requests are served by: without it waits for CRDs fail.",
	},
	{
		Ours: "internal/apiserver/crd/storages.go:(*Storages).Current", Package: crds, Decl: "crdInfo.spec",
		Has:  []string{"*apiextensionsv1.CustomResourceDefinitionSpec"},
		Look: "A storage is that of a CRD if this and the names are equal: without it waits for CRDs fail.",
	},
	{
		Ours: "internal/apiserver/crd/storages.go:(*Storages).Current", Package: crds, Decl: "crdInfo.acceptedNames",
		Has:  []string{"*apiextensionsv1.CustomResourceDefinitionNames"},
		Look: "The same.",
	},
	{
		Ours: "internal/apiserver/crd/storages.go:(*Storages).Current", Package: crds, Decl: "(*crdHandler).updateCustomResourceDefinition",
		Has: []string{
			"apiequality.Semantic.DeepEqual(&newCRD.Spec, oldInfo.spec)", "apiequality.Semantic.DeepEqual(&newCRD.Status.AcceptedNames, oldInfo.acceptedNames)",
		},
		Look: "current compares a storage with its CRD as this does: by more, waits end too early; by less, never.",
	},
}
