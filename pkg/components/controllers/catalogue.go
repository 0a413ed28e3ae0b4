// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	"k8s.io/component-base/featuregate"
)

// controller describes one of upstream's controllers, like a descriptor in
// k8s.io/kubernetes/cmd/kube-controller-manager/app. That package cannot be linked: it
// imports the kubelet's container manager and cAdvisor, and registers --version with the
// command line of the host.
type controller struct {
	name    string // upstream's
	aliases []string

	// set is Workloads, Nodes, or empty for a controller that is only in All.
	set string
	// offByDefault means that All does not include it.
	offByDefault bool
	// gates are the feature gates that must be on.
	gates []featuregate.Feature

	// reads are the resources of its informers, as group/version/resource. The informer
	// of a resource that is not served would never sync: the controller is skipped.
	reads []string
	// readsWith are the resources of informers that need a feature gate.
	readsWith map[featuregate.Feature][]string

	// anyOf are resources without a shared informer. At least one must be served.
	anyOf []string

	// named means that Config.Controllers has its name, and not only a set with it. Then
	// it must not be skipped silently.
	named bool

	// build creates the controller and its informers. After the informers have synced,
	// run is called. It returns when its ctx has ended.
	build func(context.Context, *environment) (run func(context.Context), err error)
}

// catalogue returns all controllers of this package, in the order of their creation.
func catalogue() []controller {
	var all []controller
	for _, part := range [][]controller{workloads, services, nodes, volumes, dra, housekeeping} {
		all = append(all, part...)
	}
	return all
}

// Resources of informers.
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
