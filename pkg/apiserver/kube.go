// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	upstreamadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/dynamic"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	controlplaneadmission "k8s.io/kubernetes/pkg/controlplane/apiserver/admission"
	"k8s.io/kubernetes/pkg/controlplane/controller/clusterauthenticationtrust"
	kubeadmission "k8s.io/kubernetes/pkg/kubeapiserver/admission"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"github.com/kubembed/kubembed/internal/apiserver/admission"
	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/bootstrap"
	"github.com/kubembed/kubembed/internal/apiserver/convergence"
	"github.com/kubembed/kubembed/internal/apiserver/coordination"
	"github.com/kubembed/kubembed/internal/apiserver/egress"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/pki"
)

// The name and the port of the API server's Service in namespace default.
const (
	kubernetesServiceName = "kubernetes"
	kubernetesServicePort = 443
)

// kubeConfig returns the configuration of the built-in APIs, like CreateConfig of
// k8s.io/kubernetes/pkg/controlplane/apiserver and CreateKubeAPIServerConfig of
// cmd/kube-apiserver.
func (g *generic) kubeConfig(services webhook.ServiceResolver, webhooks *http.Transport) (*controlplane.Config, error) {
	// It is set once per process. Without it privileged pods are rejected.
	capabilities.Setup(true, 0)
	registerProcessMetrics()

	issuer, err := serviceaccount.JWTTokenGenerator(g.config.ServiceAccountIssuer, g.config.PKI.ServiceAccountKey())
	if err != nil {
		return nil, fmt.Errorf("apiserver: service-account issuer: %w", err)
	}
	keys, err := authn.ServiceAccountKeys(g.config.PKI.ServiceAccountPublicKeys())
	if err != nil {
		return nil, err
	}
	trust, err := clusterAuthenticationInfo(g.config.PKI)
	if err != nil {
		return nil, err
	}
	endpoints, err := g.endpointReconciler()
	if err != nil {
		return nil, err
	}
	accounts := kubeoptions.NewBuiltInAuthenticationOptions().WithServiceAccounts().ServiceAccounts
	c := &controlplane.Config{
		ControlPlane: controlplaneapiserver.Config{
			Generic: g.server,
			Extra: controlplaneapiserver.Extra{
				ClusterAuthenticationInfo:           trust,
				APIResourceConfigSource:             g.server.MergedResourceConfig,
				StorageFactory:                      g.factory,
				EventTTL:                            g.config.EventTTL,
				ProxyTransport:                      g.dialer.ProxyTransport(g.presence.CheckProxy),
				ServiceAccountIssuer:                issuer,
				ServiceAccountExtendedMaxExpiration: accounts.MaxExtendedExpiration,
				ExtendExpiration:                    accounts.ExtendExpiration,
				ServiceAccountIssuerURL:             g.config.ServiceAccountIssuer,
				ServiceAccountPublicKeysGetter:      keys,
				SystemNamespaces:                    bootstrap.SystemNamespaces,
				VersionedInformers:                  g.informers,
				PeerEndpointLeaseReconciler:         noPeers{},

				// For hosts that switch the feature gate on.
				CoordinatedLeadershipLeaseDuration: 15 * time.Second,
				CoordinatedLeadershipRenewDeadline: 10 * time.Second,
				CoordinatedLeadershipRetryPeriod:   2 * time.Second,
			},
		},
		Extra: controlplane.Extra{
			KubeletClientConfig:      egress.ClientConfig(),
			ServiceIPRange:           *g.config.ServiceCIDR,
			APIServerServicePort:     kubernetesServicePort,
			EndpointReconcilerConfig: controlplane.EndpointReconcilerConfig{Reconciler: endpoints},
			MasterCount:              coordination.ServerCount(g.config.Shared),
		},
	}
	return c, g.admission(services, webhooks)
}

// admission sets kube-apiserver's default admission plugins and NodeRestriction.
// ServiceAccount is on if controllers create service accounts: otherwise no pod could be
// created.
func (g *generic) admission(services webhook.ServiceResolver, webhooks *http.Transport) error {
	generic, err := (&controlplaneadmission.Config{
		ExternalInformers:    g.informers,
		LoopbackClientConfig: g.loopback,
		APIResourceConfig:    g.server.MergedResourceConfig,
	}).New(webhooks, nil, services, g.server.TracerProvider)
	if err != nil {
		return fmt.Errorf("apiserver: admission: %w", err)
	}
	kube, err := (&kubeadmission.Config{}).New()
	if err != nil {
		return fmt.Errorf("apiserver: admission: %w", err)
	}
	dynamicClient, err := dynamic.NewForConfig(g.loopback)
	if err != nil {
		return fmt.Errorf("apiserver: admission: %w", err)
	}
	o := kubeoptions.NewAdmissionOptions()
	o.GenericAdmission.EnablePlugins, o.GenericAdmission.DisablePlugins = g.config.admissionPlugins()
	// Ours come before upstream's decorators, which count the calls.
	o.GenericAdmission.Decorators = slices.Insert(o.GenericAdmission.Decorators, 0, g.policies.Decorator(g.informers), g.acknowledged.WebhookDecorator(g.informers), admission.SkipWithoutWebhooks(g.informers), admission.ExemptServer(g.started.Load))
	initializers := slices.Concat([]upstreamadmission.PluginInitializer{drained(g.drained)}, generic, kube)
	if err := o.ApplyTo(g.server, informers.Blocking(g.ctx, g.informers), g.client, dynamicClient, utilfeature.DefaultFeatureGate,
		g.server.EffectiveVersion, initializers...); err != nil {
		return fmt.Errorf("apiserver: admission: %w", err)
	}
	g.server.AdmissionControl = admission.Chain{
		Interface: g.server.AdmissionControl, Calls: &g.admissions, Check: admission.CheckCertificateRequest, Wait: convergence.NewAdmission(g.acknowledged).Wait,
	}
	return nil
}

// drained gives plugins the channel on which they stop. Upstream's initializer gives them
// a channel that only upstream's own Run closes. This one comes directly after it, before
// the initializers that start goroutines.
type drained <-chan struct{}

func (d drained) Initialize(plugin upstreamadmission.Interface) {
	if wants, ok := plugin.(initializer.WantsDrainedNotification); ok {
		wants.SetDrainedNotification(d)
	}
}

const (
	serviceAccountPlugin = "ServiceAccount"
	// taintPlugin gives each new node a taint that only the node lifecycle controller
	// removes: without the controller no pod could be scheduled.
	taintPlugin = "TaintNodesByCondition"
)

// configuredPlugins are the plugins that do not start without a configuration file.
var configuredPlugins = []string{"EventRateLimit", "ImagePolicyWebhook"}

// admissionPlugins merges our defaults with the host's lists.
func (c Config) admissionPlugins() (enable, disable []string) {
	enable = append([]string{}, c.EnableAdmissionPlugins...)
	disable = append([]string{}, c.DisableAdmissionPlugins...)
	if !slices.Contains(disable, "NodeRestriction") {
		enable = append(enable, "NodeRestriction")
	}
	if !c.Controllers && !slices.Contains(enable, serviceAccountPlugin) && !slices.Contains(disable, serviceAccountPlugin) {
		disable = append(disable, serviceAccountPlugin)
	}
	if !slices.Contains(enable, taintPlugin) && !slices.Contains(disable, taintPlugin) {
		disable = append(disable, taintPlugin)
	}
	return enable, disable
}

// clusterAuthenticationInfo returns the CAs that the server publishes in kube-system, for
// the authentication of clients by aggregated API servers.
func clusterAuthenticationInfo(identities *pki.PKI) (clusterauthenticationtrust.ClusterAuthenticationInfo, error) {
	frontProxy, err := authn.RequestHeader(identities.FrontProxyCABundle(), frontProxyClient)
	if err != nil {
		return clusterauthenticationtrust.ClusterAuthenticationInfo{}, err
	}
	clientCA, err := authn.ClientCA(identities.ClientCAs())
	if err != nil {
		return clusterauthenticationtrust.ClusterAuthenticationInfo{}, err
	}
	return clusterauthenticationtrust.ClusterAuthenticationInfo{
		ClientCA:                         clientCA,
		RequestHeaderCA:                  frontProxy.CAContentProvider,
		RequestHeaderAllowedNames:        frontProxy.AllowedClientNames,
		RequestHeaderExtraHeaderPrefixes: frontProxy.ExtraHeaderPrefixes,
		RequestHeaderGroupHeaders:        frontProxy.GroupHeaders,
		RequestHeaderUsernameHeaders:     frontProxy.UsernameHeaders,
		RequestHeaderUIDHeaders:          frontProxy.UIDHeaders,
	}, nil
}

// writeKeyPair writes a key pair, which upstream takes by file name, into dir.
func writeKeyPair(dir, name string, pair pki.KeyPair) (cert, key string, err error) {
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	err = os.WriteFile(cert, pair.Cert, 0o600)
	if err == nil {
		err = os.WriteFile(key, pair.Key, 0o600)
	}
	if err != nil {
		return "", "", fieldpath.New("apiserver", "Config.Dir", "%w", err)
	}
	return cert, key, nil
}
