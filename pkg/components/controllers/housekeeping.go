// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	apiextensionsscheme "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/scheme"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	genericfeatures "k8s.io/apiserver/pkg/features"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/component-base/featuregate"
	"k8s.io/kubernetes/pkg/controller/certificates/cleaner"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/controller/servicecidrs"
	"k8s.io/kubernetes/pkg/controller/storageversiongc"
	"k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/generated/openapi"
	"k8s.io/utils/clock"
)

// housekeeping are the controllers that clean up, check or publish.
var housekeeping = []controller{
	{
		name:  "service-cidr-controller",
		gates: []featuregate.Feature{features.MultiCIDRServiceAllocator},
		reads: []string{serviceCIDRs, ipAddresses},
		build: newServiceCIDR,
	},
	{
		name:  "validatingadmissionpolicy-status-controller",
		reads: []string{admissionPolicies},
		build: newAdmissionPolicyStatus,
	},
	{
		name: "legacy-serviceaccount-token-cleaner-controller", aliases: []string{"legacy-service-account-token-cleaner"},
		reads: []string{serviceAccounts, secrets, pods},
		build: newLegacyTokenCleaner,
	},
	{
		name:  "podcertificaterequest-cleaner-controller",
		gates: []featuregate.Feature{features.PodCertificateRequest},
		reads: []string{podCertificateRequests},
		build: newPodCertificateRequestCleaner,
	},
	{
		name:  "kube-apiserver-serving-clustertrustbundle-publisher-controller",
		gates: []featuregate.Feature{features.ClusterTrustBundle},
		anyOf: trustBundleVersions(),
		build: newServingTrustBundle,
	},
	{
		name: "storageversion-garbage-collector-controller", aliases: []string{"storage-version-gc"},
		gates: []featuregate.Feature{genericfeatures.APIServerIdentity, genericfeatures.StorageVersionAPI},
		reads: []string{leases, storageVersions},
		build: newStorageVersionGC,
	},
}

func newServiceCIDR(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("service-cidrs-controller")
	if err != nil {
		return nil, err
	}
	c := servicecidrs.NewController(ctx, e.informers.Networking().V1().ServiceCIDRs(), e.informers.Networking().V1().IPAddresses(), client)
	return func(ctx context.Context) { c.Run(ctx, 5) }, nil
}

func newAdmissionPolicyStatus(_ context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("validatingadmissionpolicy-status-controller")
	if err != nil {
		return nil, err
	}
	schemas := resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, clientgoscheme.Scheme, apiextensionsscheme.Scheme).
		Combine(&resolver.ClientDiscoveryResolver{Discovery: client.Discovery()})
	c, err := validatingadmissionpolicystatus.NewController(
		e.informers.Admissionregistration().V1().ValidatingAdmissionPolicies(),
		client.AdmissionregistrationV1().ValidatingAdmissionPolicies(),
		&validating.TypeChecker{SchemaResolver: schemas, RestMapper: e.mapper})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		c.Run(ctx, int(e.settings.ValidatingAdmissionPolicyStatusController.ConcurrentPolicySyncs))
	}, nil
}

func newLegacyTokenCleaner(_ context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("legacy-service-account-token-cleaner")
	if err != nil {
		return nil, err
	}
	c, err := serviceaccount.NewLegacySATokenCleaner(
		e.informers.Core().V1().ServiceAccounts(), e.informers.Core().V1().Secrets(), e.informers.Core().V1().Pods(),
		client, clock.RealClock{},
		serviceaccount.LegacySATokenCleanerOptions{
			CleanUpPeriod: e.settings.LegacySATokenCleaner.CleanUpPeriod.Duration,
			SyncInterval:  serviceaccount.DefaultCleanerSyncInterval,
		})
	if err != nil {
		return nil, err
	}
	return c.Run, nil
}

func newPodCertificateRequestCleaner(_ context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("podcertificaterequestcleaner")
	if err != nil {
		return nil, err
	}
	// Upstream's periods, which are not configurable.
	c := cleaner.NewPCRCleanerController(client, e.informers.Certificates().V1().PodCertificateRequests(),
		clock.RealClock{}, 15*time.Minute, 5*time.Minute)
	return func(ctx context.Context) { c.Run(ctx, 1) }, nil
}

func newStorageVersionGC(ctx context.Context, e *environment) (func(context.Context), error) {
	client, err := e.client("storage-version-garbage-collector")
	if err != nil {
		return nil, err
	}
	c := storageversiongc.NewStorageVersionGC(ctx, client,
		e.informers.Coordination().V1().Leases(), e.informers.Internal().V1alpha1().StorageVersions())
	return c.Run, nil
}
