// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

// bootstrapEntries are for the objects that a start creates. Upstream's hooks and
// controllers create them in the first second after the start.
var bootstrapEntries = []Entry{
	// RBAC over existing data. The hook itself waits a second, has no context, and ends
	// the process when it fails.
	{
		Ours:    "internal/apiserver/rbacpolicy/policy.go:New",
		Package: "k8s.io/kubernetes/pkg/registry/rbac/rest",
		Decl:    "RESTStorageProvider.PostStartHook",
		Digest:  "72dfba24b07b23d1",
		Look:    "New has the parts that upstream's hook puts together: a part that it lacks is never created",
	},
	{
		Ours:    "internal/apiserver/rbacpolicy/policy.go:Served",
		Package: "k8s.io/kubernetes/pkg/registry/rbac/rest",
		Decl:    "PolicyData",
		Fields:  []string{"ClusterRoles", "ClusterRoleBindings", "Roles", "RoleBindings", "ClusterRolesToAggregate", "ClusterRoleBindingsToSplit"},
		Look:    "New fills each field, and Reconcile follows ensureRBACPolicy with each: a step that it lacks leaves the policy other than upstream does",
	},
	{
		Ours:    "internal/apiserver/rbacpolicy/reconcile.go:Reconcile",
		Package: "k8s.io/kubernetes/pkg/registry/rbac/rest",
		Decl:    "ensureRBACPolicy",
		Digest:  "d4dd9df0904ced9a",
		Test:    "pkg/apiserver:TestBootstrapOverChangedData",
		Look:    "Reconcile follows its steps and their order: add cases to TestBootstrapOverChangedData",
	},
	{
		Ours:    "internal/apiserver/rbacpolicy/reconcile.go:retriable",
		Package: "k8s.io/kubernetes/pkg/registry/rbac/rest",
		Decl:    "isConflictOrServiceUnavailable",
		Digest:  "5aabc25bc918d78e",
		Look:    "retriable has the same errors: for another one, a start leaves the policy to later tries",
	},
	{
		Ours:    "internal/apiserver/rbacpolicy/reconcile.go:primeAggregated",
		Package: "k8s.io/kubernetes/pkg/registry/rbac/rest",
		Decl:    "primeAggregatedClusterRoles",
		Digest:  "9f498dbfc19145ce",
		Look:    "primeAggregated is its body for one role: an operator loses the rules of a role that it no longer copies",
	},
	{
		Ours:    "internal/apiserver/rbacpolicy/reconcile.go:primeSplit",
		Package: "k8s.io/kubernetes/pkg/registry/rbac/rest",
		Decl:    "primeSplitClusterRoleBindings",
		Digest:  "5b14929e93c82011",
		Look:    "primeSplit is its body for one binding: subjects that an operator has taken out of the source come back without the copy",
	},
	// Missing objects are written through storage.
	{
		Ours:    "internal/apiserver/bootstrap/objects.go:Config.objects",
		Package: "k8s.io/kubernetes/pkg/registry/scheduling/rest",
		Decl:    "AddSystemPriorityClasses",
		Digest:  "7e4a0f2ce5fc4644",
		Look:    "the hook creates only missing classes, and seed does the same: if the hook updates existing classes, seed must",
	},
	{
		Ours:    "internal/apiserver/bootstrap/objects.go:Config.objects",
		Package: "k8s.io/kubernetes/pkg/registry/flowcontrol/rest",
		Decl:    "ensure",
		Digest:  "80dcf9c165eb3b98",
		Look:    "seed creates missing flow schemas and priority levels, suggested and mandatory, as the hook does a moment later: an object that the hook would not create must not be seeded",
	},
	{
		Ours:    "internal/apiserver/bootstrap/objects.go:Config.objects",
		Package: "k8s.io/kubernetes/pkg/controlplane/controller/systemnamespaces",
		Decl:    "(*Controller).createNamespaceIfNeeded",
		Digest:  "18d431a0b8977c56",
		Look:    "the controller only creates missing namespaces, without labels, and so does seed",
	},
	{
		Ours:    "internal/apiserver/bootstrap/objects.go:Config.rootCA",
		Package: "k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher",
		Decl:    "(*Publisher).syncNamespace",
		Digest:  "d139774a961b9cdb",
		Look:    "rootCA is the ConfigMap that the controller creates: it would write each one again",
	},
	{
		Ours:    "internal/apiserver/rbacpolicy/aggregate.go:Aggregate",
		Package: "k8s.io/kubernetes/pkg/controller/clusterroleaggregation",
		Decl:    "(*ClusterRoleAggregationController).syncClusterRole",
		Digest:  "f9223ca52ab61a8c",
		Look:    "Aggregate puts the rules in the controller's order: it would write each role again",
	},
	{
		Ours:    "internal/apiserver/bootstrap/apiservices.go:Config.repair",
		Package: "k8s.io/kube-aggregator/pkg/controllers/autoregister",
		Decl:    "(*autoRegisterController).checkAPIService",
		Digest:  "1e964200ca6df252",
		Test:    "pkg/apiserver:TestBootstrapOverChangedData",
		Look:    "repair changes those APIServices that the controller would update at a start, and leaves those without its label",
	},
}
