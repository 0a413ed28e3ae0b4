package controllers

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Sets of controllers, for Config.Controllers.
const (
	// Workloads are the controllers of what users deploy: Deployments,
	// ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets, Jobs and
	// their removal, CronJobs, PodDisruptionBudgets, Endpoints, EndpointSlices
	// and their mirroring, HorizontalPodAutoscalers, ephemeral volumes, and the
	// protection of volumes and claims that are in use.
	Workloads = "workloads"

	// Nodes are the controllers that look after nodes: they taint those that do
	// not answer, evict pods from tainted ones, annotate them for kubelets that
	// cache, and give out ranges of pod addresses where Config.PodCIDR is set.
	Nodes = "nodes"

	// All is what kube-controller-manager runs by default without a cloud:
	// Workloads, Nodes, and the controllers of volumes, attachment, resource
	// claims, device taints, Service ranges, admission policies, the API server's
	// ClusterTrustBundle and old certificate requests of pods. It is upstream's own
	// name for it.
	All = "*"
)

// Names lists the names of the controllers that this package has, sorted.
func Names() []string {
	names := make([]string, 0, len(catalogue()))
	for _, c := range catalogue() {
		names = append(names, c.name)
	}
	slices.Sort(names)
	return names
}

// choose finds the controllers that items name. ipam says whether nodes are to
// get ranges of addresses.
func choose(items []string, ipam bool) (chosen []controller, errs field.ErrorList) {
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
			chosen = append(chosen, c)
		}
	}
	return chosen, errs
}

// canonical is upstream's name of the controller that item names, or the reason
// why it cannot be had here.
func canonical(item string) (string, error) {
	for _, c := range catalogue() {
		if item == c.name || slices.Contains(c.aliases, item) {
			return c.name, nil
		}
	}
	for _, e := range elsewhere {
		if slices.Contains(e.names, item) {
			return "", fmt.Errorf("%s", e.why)
		}
	}
	return "", fmt.Errorf("no such controller; the known ones are %s, and the sets %q, %q and %q",
		strings.Join(Names(), ", "), Workloads, Nodes, All)
}

// elsewhere are upstream's controllers that this package does not have.
var elsewhere = []struct {
	why   string
	names []string
}{
	{"every control plane runs it by itself: leave it out here", []string{
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
	}},
}
