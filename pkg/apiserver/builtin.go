// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"time"

	genericregistry "k8s.io/apiserver/pkg/registry/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/controller/kubernetesservice"

	"github.com/kubembed/kubembed/internal/apiserver/bootstrap"
	"github.com/kubembed/kubembed/internal/apiserver/coordination"
	"github.com/kubembed/kubembed/internal/apiserver/egress"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/apiserver/kubelet"
	"github.com/kubembed/kubembed/internal/apiserver/presence"
	"github.com/kubembed/kubembed/internal/apiserver/registry"
	"github.com/kubembed/kubembed/internal/apiserver/routes"
	"github.com/kubembed/kubembed/internal/apiserver/servicecidr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// The name and the port of the API server's Service in namespace default.
const (
	kubernetesServiceName     = "kubernetes"
	kubernetesServicePortName = "https"
	kubernetesServicePort     = 443
)

// builtinConfig returns the configuration of the built-in APIs, like CreateConfig of
// k8s.io/kubernetes/pkg/controlplane/apiserver and CreateKubeAPIServerConfig of
// cmd/kube-apiserver.
func builtinConfig(e *environment, c *genericapiserver.Config, stored storageConfig, addresses *presence.Registry, w webhooks, a *authentication) (*controlplane.Config, error) {
	// It is set once per process. Without it privileged pods are rejected.
	capabilities.Setup(true, 0)
	registerProcessMetrics()

	endpoints, err := endpointReconciler(e, stored)
	if err != nil {
		return nil, err
	}
	nodePorts, err := e.config.Network.nodePorts()
	if err != nil {
		return nil, fieldpath.New("apiserver", "Config.Network.ServiceNodePortRange", "%w", err)
	}
	ranges := e.config.serviceRanges()
	return &controlplane.Config{
		ControlPlane: controlplaneapiserver.Config{
			Generic: c,
			Extra: controlplaneapiserver.Extra{
				ClusterAuthenticationInfo:           a.trust.published(),
				APIResourceConfigSource:             c.MergedResourceConfig,
				StorageFactory:                      stored.factory,
				EventTTL:                            e.config.EventTTL,
				ProxyTransport:                      e.dialer.ProxyTransport(addresses.CheckProxy),
				ServiceAccountIssuer:                a.accounts.generator,
				ServiceAccountMaxExpiration:         a.accounts.maxExpiration,
				ServiceAccountExtendedMaxExpiration: a.accounts.maxExtendedExpiration,
				ExtendExpiration:                    !e.config.ServiceAccounts.NoExtendedExpiration,
				ServiceAccountIssuerURL:             e.config.ServiceAccounts.Issuers[0],
				ServiceAccountJWKSURI:               e.config.ServiceAccounts.JWKSURI,
				ServiceAccountPublicKeysGetter:      a.accounts.keys,
				SystemNamespaces:                    bootstrap.SystemNamespaces,
				VersionedInformers:                  e.sharedInformers,
				EndpointSliceGetter:                 w.slices,
				PeerEndpointLeaseReconciler:         noPeers{},

				// For hosts that switch the feature gate on.
				CoordinatedLeadershipLeaseDuration: 15 * time.Second,
				CoordinatedLeadershipRenewDeadline: 10 * time.Second,
				CoordinatedLeadershipRetryPeriod:   2 * time.Second,
			},
		},
		Extra: controlplane.Extra{
			KubeletClientConfig:      egress.ClientConfig(),
			ServiceIPRange:           *ranges[0],
			SecondaryServiceIPRange:  ranges.Secondary(),
			ServiceNodePortRange:     nodePorts,
			APIServerServicePort:     kubernetesServicePort,
			EndpointReconcilerConfig: controlplane.EndpointReconcilerConfig{Reconciler: endpoints},
			MasterCount:              coordination.ServerCount(e.config.Shared),
		},
	}, nil
}

// newBuiltin returns the server of the built-in APIs. It is CompletedConfig.New of
// k8s.io/kubernetes/pkg/controlplane, which gives no access to the storage that it
// installs. Server.run starts the controller of the default ServiceCIDR: upstream's hook
// would wait 100 ms for its own informer to find an object that already exists.
func newBuiltin(e *environment, addresses *presence.Registry, kube *controlplane.Config, delegate genericapiserver.DelegationTarget) (*controlplaneapiserver.Server, error) {
	c := kube.Complete()
	server, err := c.ControlPlane.New(controlplaneapiserver.KubeAPIServer, delegate)
	if err != nil {
		return nil, err
	}
	c.ControlPlane.Extra.VersionedInformers = informers.Blocking(e.ctx, e.sharedInformers)
	providers, err := c.StorageProviders(e.client)
	if err != nil {
		return nil, err
	}
	if err := connectKubelets(e, addresses, providers); err != nil {
		return nil, err
	}
	registry.Decorate(providers)
	if err := server.InstallAPIs(providers...); err != nil {
		return nil, err
	}
	routes.Share(server.GenericAPIServer.Handler.GoRestfulContainer)
	_, port, err := c.ControlPlane.Generic.SecureServing.HostPort()
	if err != nil {
		return nil, fmt.Errorf("listener address: %w", err)
	}
	if err := c.Extra.EndpointReconcilerConfig.Reconciler.ValidateIP(e.config.publishedAddress()); err != nil {
		return nil, fieldpath.New("", "Config.AdvertiseAddress", "the kubernetes Service cannot have %s as its endpoint: %w", e.config.publishedAddress(), err)
	}
	service := kubernetesservice.New(kubernetesservice.Config{
		PublicIP:                  e.config.publishedAddress(),
		EndpointReconciler:        c.Extra.EndpointReconcilerConfig.Reconciler,
		EndpointInterval:          c.Extra.EndpointReconcilerConfig.Interval,
		ServiceIP:                 c.Extra.APIServerServiceIP,
		ServicePort:               c.Extra.APIServerServicePort,
		PublicServicePort:         port,
		KubernetesServiceNodePort: c.Extra.KubernetesServiceNodePort,
	}, e.client, e.sharedInformers.Core().V1().Services())
	// Both have upstream's names: hooksWithoutResources switches the first one off.
	if err := server.GenericAPIServer.AddPostStartHook("bootstrap-controller", func(hook genericapiserver.PostStartHookContext) error {
		service.Start(hook.Done())
		return nil
	}); err != nil {
		return nil, err
	}
	return server, server.GenericAPIServer.AddPreShutdownHook("stop-kubernetes-service-controller", func() error {
		service.Stop()
		return nil
	})
}

// connectKubelets replaces the provider of the core group in place: discovery has the
// order of the providers.
func connectKubelets(e *environment, addresses *presence.Registry, providers []controlplaneapiserver.RESTStorageProvider) error {
	for i, provider := range providers {
		if provider.GroupName() != "" {
			continue
		}
		hook, ok := provider.(genericapiserver.PostStartHookProvider)
		if !ok {
			return fmt.Errorf("the storage provider of the core group is a %T, which has no start hook", provider)
		}
		kubelets := egress.NewKubelets(e.config.PKI, e.config.KubeletInsecureTLS, e.sharedInformers.Core().V1().Nodes().Lister(), e.dialer, kubelet.NewPolicy(e.ctx, e.config.local(), addresses.CheckKubelet, e.client, e.config.Logger))
		providers[i] = coreProvider{RESTStorageProvider: provider, PostStartHookProvider: hook, kubelets: kubelets, pods: e.pods, services: &e.services}
		return nil
	}
	return errors.New("no storage provider of the core group")
}

// coreProvider provides upstream's storage of the core group, with our connections to
// kubelets, and with pods that informers share.
type coreProvider struct {
	controlplaneapiserver.RESTStorageProvider
	genericapiserver.PostStartHookProvider
	kubelets *egress.Kubelets
	pods     *informers.SharedPods
	services *servicecidr.Creator // set when the storage is made
}

func (p coreProvider) NewRESTStorage(resources serverstorage.APIResourceConfigSource, options genericregistry.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error) {
	info, err := p.RESTStorageProvider.NewRESTStorage(resources, options)
	if err != nil {
		return info, err
	}
	v1 := info.VersionedResourcesStorageMap["v1"]
	*p.services, _ = v1["services"].(servicecidr.Creator)
	if pods, ok := v1["pods"]; ok { // unless they are switched off
		if err := p.pods.UseStorage(pods); err != nil {
			return info, err
		}
	}
	return info, p.kubelets.Connect(v1)
}
