// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Admission waits for the resources that admission plugins look up in their informers.
type Admission struct {
	writes     *Writes
	cluster    []*source // for cluster-scoped requests
	namespaced []*source // for requests in a namespace
	quotas     []*source // for requests for quotas
	resources  map[schema.GroupResource][]*source
	binding    []*source // for bindings of pods
	nodes      []*source // for requests of nodes for pods and tokens
}

// NewAdmission returns an Admission that waits for the writes in a.
func NewAdmission(a *Writes) *Admission {
	core := func(resources ...string) []*source { return a.of(groupResources("", resources...)) }
	scheduling := func(resources ...string) []*source {
		return a.of(groupResources("scheduling.k8s.io", resources...))
	}
	c := &Admission{
		writes:  a,
		cluster: a.of(policySources),
		quotas:  slices.Concat(a.of(policySources), core("namespaces")),
		binding: core("nodes"),
		nodes:   core("pods", "nodes"),
	}
	c.namespaced = slices.Concat(c.quotas, core("resourcequotas"))
	storageClasses := a.of(groupResources("storage.k8s.io", "storageclasses"))
	c.resources = map[schema.GroupResource][]*source{
		{Resource: "pods"}: slices.Concat(core("limitranges", "serviceaccounts"), scheduling("priorityclasses", "podgroups"),
			a.of(groupResources("node.k8s.io", "runtimeclasses")), a.of(groupResources("storage.k8s.io", "csidrivers"))),
		{Resource: "persistentvolumeclaims"}:                      slices.Concat(core("limitranges"), storageClasses),
		{Group: "scheduling.k8s.io", Resource: "priorityclasses"}: scheduling("priorityclasses"),
		{Group: "scheduling.k8s.io", Resource: "podgroups"}:       scheduling("priorityclasses", "workloads"),
		{Group: "networking.k8s.io", Resource: "ingresses"}:       a.of(groupResources("networking.k8s.io", "ingressclasses")),
	}
	return c
}

// Wait returns when the informers have seen the acknowledged writes that the plugins need
// to decide about a.
func (c *Admission) Wait(ctx context.Context, a admission.Attributes) {
	resource := a.GetResource().GroupResource()
	var base, binding, nodes []*source
	switch {
	case a.GetNamespace() == "", resource.Group == "" && resource.Resource == "namespaces":
		base = c.cluster
	case resource.Group == "" && resource.Resource == "resourcequotas":
		base = c.quotas
	default:
		base = c.namespaced
	}
	if resource.Group == "" {
		pods := resource.Resource == "pods"
		if pods && a.GetSubresource() == "binding" {
			binding = c.binding
		}
		if info := a.GetUserInfo(); info != nil && (pods || resource.Resource == "serviceaccounts") && a.GetSubresource() != "status" &&
			slices.Contains(info.GetGroups(), user.NodesGroup) {
			nodes = c.nodes
		}
	}
	// One call, so that one timeout bounds all of them.
	c.writes.wait(ctx, base, c.resources[resource], binding, nodes)
}
