// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Sets of controllers, for Config.Controllers.
const (
	// Workloads are the controllers of user workloads: Deployments, ReplicaSets,
	// ReplicationControllers, StatefulSets, DaemonSets, Jobs and their cleanup,
	// CronJobs, PodDisruptionBudgets, Endpoints, EndpointSlices and their mirroring,
	// HorizontalPodAutoscalers, ephemeral volumes, and the protection of volumes and
	// claims in use.
	Workloads = "workloads"

	// Nodes are the controllers of nodes: they taint unresponsive nodes, evict pods
	// from tainted nodes, set the TTL annotation for the caches of kubelets, and
	// allocate pod ranges if Config.PodCIDR is set.
	Nodes = "nodes"

	// All are the default controllers of kube-controller-manager without a cloud
	// provider. They are Workloads, Nodes, and the controllers of volumes, attachment,
	// resource claims, device taints, Service ranges, admission policies, the
	// ClusterTrustBundle of the API server and old certificate requests of pods. The
	// name is upstream's.
	All = "*"
)

// Names returns the names of all controllers of this package, sorted.
func Names() []string {
	names := make([]string, 0, len(catalogue()))
	for _, c := range catalogue() {
		names = append(names, c.name)
	}
	slices.Sort(names)
	return names
}

// selectControllers returns the controllers that items select. ipam means that nodes get
// address ranges.
func selectControllers(items []string, ipam bool) (selected []controller, errs field.ErrorList) {
	path := field.NewPath("Controllers")
	sets, with, without := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i, item := range items {
		name, minus := strings.CutPrefix(item, "-")
		if !minus && (name == Workloads || name == Nodes || name == All) {
			sets[name] = true
			continue
		}
		name, err := canonical(name)
		if err == nil && !minus && name == nodeIPAM && !ipam {
			err = fmt.Errorf("%s needs Config.PodCIDR", name)
		}
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(path.Index(i), item, err.Error()))
		case minus:
			without[name] = true
		default:
			with[name] = true
		}
	}
	if len(with) == 0 && len(sets) == 0 {
		sets[All] = true
	}
	for _, c := range catalogue() {
		inSet := sets[All] && !c.offByDefault || c.set != "" && sets[c.set]
		if c.name == nodeIPAM && !ipam {
			inSet = false
		}
		if (inSet || with[c.name]) && !without[c.name] {
			c.named = with[c.name]
			selected = append(selected, c)
		}
	}
	return selected, errs
}

// canonical returns upstream's name for a name or an alias, or an error if this package
// does not have the controller.
func canonical(item string) (string, error) {
	for _, c := range catalogue() {
		if item == c.name || slices.Contains(c.aliases, item) {
			return c.name, nil
		}
	}
	if slices.Contains(builtIn, item) {
		return "", errors.New("every control plane runs it itself: omit it here")
	}
	return "", fmt.Errorf("no such controller; the known ones are %s, and the sets %q, %q and %q",
		strings.Join(Names(), ", "), Workloads, Nodes, All)
}

// builtIn are the names and aliases of upstream's controllers that every control plane
// runs.
var builtIn = []string{
	"bootstrap-signer-controller", "bootstrapsigner",
	"certificatesigningrequest-approving-controller", "csrapproving",
	"certificatesigningrequest-cleaner-controller", "csrcleaner",
	"certificatesigningrequest-signing-controller", "csrsigning",
	"clusterrole-aggregation-controller", "clusterrole-aggregation",
	"garbage-collector-controller", "garbagecollector",
	"namespace-controller", "namespace",
	"pod-garbage-collector-controller", "podgc",
	"resourcequota-controller", "resourcequota",
	"root-ca-certificate-publisher-controller", "root-ca-cert-publisher",
	"serviceaccount-controller", "serviceaccount",
	"serviceaccount-token-controller", "serviceaccount-token",
	"storage-version-migrator-controller", "svm",
	"token-cleaner-controller", "tokencleaner",
}
