package controllers

import (
	"context"

	"k8s.io/component-base/featuregate"
)

// controller is how one of upstream's controllers is made: what
// k8s.io/kubernetes/cmd/kube-controller-manager/app calls its descriptor. That
// package itself cannot be linked: it brings the kubelet's container manager
// and cAdvisor along, and registers --version with the command line of the host.
type controller struct {
	name    string // upstream's
	aliases []string

	// set is Workloads, Nodes or empty: in All only.
	set string
	// offByDefault is not in All either.
	offByDefault bool
	// gates must all be on.
	gates []featuregate.Feature

	// reads are the resources that it has caches of, as group/version/resource. If
	// one is not served, the caches would never fill: the controller is left out.
	reads []string
	// readsWith are those that it has caches of only if a feature gate is on.
	readsWith map[featuregate.Feature][]string

	// oneOf are resources that it works on without a cache of the shared ones. At least one must
	// be served.
	oneOf []string

	// named is set where Config.Controllers has its name, and not only a set of which it
	// is one: it must not be left out silently.
	named bool

	// build makes it. The caches that it asks for are filled afterwards, and then
	// run is called, which returns when its ctx has ended.
	build func(context.Context, *environment) (run func(context.Context), err error)
}

// catalogue is every controller that this package has, in the order in which
// they are made.
func catalogue() []controller {
	var all []controller
	for _, part := range [][]controller{workloads, services, nodes, volumes, dra, housekeeping} {
		all = append(all, part...)
	}
	return all
}

// Resources that controllers have caches of.
const (
	pods                   = "v1/pods"
	nodesResource          = "v1/nodes"
	servicesResource       = "v1/services"
	endpoints              = "v1/endpoints"
	replicationControllers = "v1/replicationcontrollers"
	claims                 = "v1/persistentvolumeclaims"
	persistentVolumes      = "v1/persistentvolumes"
	secrets                = "v1/secrets"
	serviceAccounts        = "v1/serviceaccounts"
	deployments            = "apps/v1/deployments"
	replicaSets            = "apps/v1/replicasets"
	statefulSets           = "apps/v1/statefulsets"
	daemonSets             = "apps/v1/daemonsets"
	revisions              = "apps/v1/controllerrevisions"
	jobs                   = "batch/v1/jobs"
	cronJobs               = "batch/v1/cronjobs"
	leases                 = "coordination.k8s.io/v1/leases"
	endpointSlices         = "discovery.k8s.io/v1/endpointslices"
	budgets                = "policy/v1/poddisruptionbudgets"
	autoscalers            = "autoscaling/v2/horizontalpodautoscalers"
	storageClasses         = "storage.k8s.io/v1/storageclasses"
	csiNodes               = "storage.k8s.io/v1/csinodes"
	csiDrivers             = "storage.k8s.io/v1/csidrivers"
	attachments            = "storage.k8s.io/v1/volumeattachments"
	attributesClasses      = "storage.k8s.io/v1/volumeattributesclasses"
	resourceClaims         = "resource.k8s.io/v1/resourceclaims"
	resourceClaimTemplates = "resource.k8s.io/v1/resourceclaimtemplates"
	resourceSlices         = "resource.k8s.io/v1/resourceslices"
	deviceClasses          = "resource.k8s.io/v1/deviceclasses"
	poolStatusRequests     = "resource.k8s.io/v1alpha3/resourcepoolstatusrequests"
	deviceTaintRules       = "resource.k8s.io/v1/devicetaintrules"
	schedulingWorkloads    = "scheduling.k8s.io/v1beta1/workloads"
	podGroups              = "scheduling.k8s.io/v1beta1/podgroups"
	serviceCIDRs           = "networking.k8s.io/v1/servicecidrs"
	ipAddresses            = "networking.k8s.io/v1/ipaddresses"
	admissionPolicies      = "admissionregistration.k8s.io/v1/validatingadmissionpolicies"
	podCertificateRequests = "certificates.k8s.io/v1/podcertificaterequests"
	storageVersions        = "internal.apiserver.k8s.io/v1alpha1/storageversions"
)
