package convergence

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Admission waits for the resources that admission plugins look up in their
// informers.
type Admission struct {
	writes     *Writes
	cluster    []*source // for all requests
	namespaced []*source // for all in a namespace
	quotas     []*source // the same, and for the quotas themselves
	resources  map[schema.GroupResource][]*source
	binding    []*source // for pods that get a node
	nodes      []*source // for requests of nodes for pods
}

// NewAdmission returns an Admission that waits for writes of a.
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

// Wait returns when the plugins may decide about a.
func (c *Admission) Wait(ctx context.Context, a admission.Attributes) {
	resource := a.GetResource().GroupResource()
	var where, binding, nodes []*source
	switch {
	case a.GetNamespace() == "", resource.Group == "" && resource.Resource == "namespaces":
		where = c.cluster
	case resource.Group == "" && resource.Resource == "resourcequotas":
		where = c.quotas
	default:
		where = c.namespaced
	}
	if resource.Group == "" {
		pods := resource.Resource == "pods"
		if pods && a.GetSubresource() == "binding" {
			binding = c.binding
		}
		if who := a.GetUserInfo(); who != nil && (pods || resource.Resource == "serviceaccounts") && a.GetSubresource() != "status" &&
			slices.Contains(who.GetGroups(), user.NodesGroup) {
			nodes = c.nodes
		}
	}
	// In one call, which has one bound.
	c.writes.wait(ctx, where, c.resources[resource], binding, nodes)
}
