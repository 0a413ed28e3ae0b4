// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericfeatures "k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	flowcontrolv1 "k8s.io/kubernetes/pkg/apis/flowcontrol/v1"
	"k8s.io/kubernetes/pkg/kubeapiserver"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"

	"github.com/kubembed/kubembed/internal/apiserver/audit"
	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/apiserver/convergence"
	"github.com/kubembed/kubembed/internal/apiserver/coordination"
	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/apiserver/egress"
	"github.com/kubembed/kubembed/internal/apiserver/encryption"
	"github.com/kubembed/kubembed/internal/apiserver/health"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/apiserver/limits"
	"github.com/kubembed/kubembed/internal/apiserver/openapi"
	"github.com/kubembed/kubembed/internal/apiserver/presence"
	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
	"github.com/kubembed/kubembed/internal/apiserver/servicecidr"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/storage"
)

// generic is the configuration that the three servers of the chain share: upstream's
// controlplane/apiserver.BuildGenericConfig without its flags and files. newGeneric sets
// all fields at once, and nothing changes them.
type generic struct {
	*state
	ctx       context.Context // ends when the server stops
	drained   <-chan struct{} // closed when no request is in flight any more
	config    Config
	server    *genericapiserver.Config
	backend   *storage.Backend
	loopback  *rest.Config
	client    *kubernetes.Clientset
	informers clientgoinformers.SharedInformerFactory
	// informerName is the name of the server's informers in metrics.
	informerName *cache.InformerName
	presence     *presence.Registry
	// encryption is nil without Config.Encryption, and with Config.Transformers.
	encryption *encryption.Transformers
	storageConfig
	revocations clientcert.Revocations
}

// state is what requests, the start and the stop change.
type state struct {
	boot       health.Boot
	started    atomic.Bool     // Start has succeeded, and Stop has not begun
	writes     serving.Writes  // mutating requests in flight
	admissions lifecycle.Group // calls of the admission chain
	dialer     *egress.Dialer  // to kubelets, and to endpoints that users may proxy to
	limits     *limits.Limits
	pods       *informers.SharedPods
	services   servicecidr.Creator // the storage of Services; nil if they are switched off

	uses     crd.FirstUses // of custom resources
	storages crd.Storages
	policies convergence.Policies
	// acknowledged are the writes that authorization and admission must have applied.
	acknowledged *convergence.Writes
}

func newState(ctx context.Context, cfg Config) *state {
	return &state{
		dialer:       egress.NewDialer(ctx, cfg.Logger),
		limits:       limits.New(cfg.StorageUsed),
		pods:         informers.NewSharedPods(ctx),
		acknowledged: convergence.NewWrites(),
	}
}

// informerResync is kube-apiserver's.
const informerResync = 10 * time.Minute

// newGeneric returns the configuration that the three servers share.
func newGeneric(ctx context.Context, drained <-chan struct{}, cfg Config, backend *storage.Backend, loopback *rest.Config, name *cache.InformerName, state *state) (*generic, error) {
	c := newServerConfig(cfg, loopback, state)
	var err error
	if cfg.Shared {
		if c.APIServerID, err = coordination.ServerID(cfg.AdvertiseAddress, cfg.Listener); err != nil {
			return nil, err
		}
	}
	registry, err := newPresence(cfg, c.APIServerID, backend)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(loopback)
	if err != nil {
		return nil, fmt.Errorf("apiserver: loopback client: %w", err)
	}
	shared := newInformers(client, state.pods, name)
	informers.TrackHandlers(shared)
	if c.MergedResourceConfig, err = runtimeconfig.Builtin(cfg.RuntimeConfig); err != nil {
		return nil, fieldpath.New("apiserver", "Config.RuntimeConfig", "%w", err)
	}
	c.DisabledPostStartHooks.Insert(hooksWithoutResources(c.MergedResourceConfig)...)
	c.AddHealthChecks(state.boot.Checks(c.MergedResourceConfig, slices.Contains(cfg.modes(), modes.ModeRBAC))...)
	transformers, err := loadEncryption(ctx, drained, cfg, c.APIServerID, backend)
	if err != nil {
		return nil, err
	}
	// Before all other steps that can fail: the goroutines that upstream starts from here
	// on end only in a server that runs.
	if err := audit.Apply(c, audit.Options(cfg.Audit), cfg.Dir); err != nil {
		return nil, err
	}
	if c.MergedResourceConfig.ResourceEnabled(flowcontrolv1.SchemeGroupVersion.WithResource("flowschemas")) {
		c.FlowControl = utilflowcontrol.New(shared, client.FlowcontrolV1(), c.MaxRequestsInFlight+c.MaxMutatingRequestsInFlight)
	}
	c.OpenAPIConfig, c.OpenAPIV3Config = openapi.Configs()
	if c.SecureServing, err = secureServing(cfg); err != nil {
		return nil, err
	}
	stored, err := configureStorage(c, cfg, backend, transformers)
	if err != nil {
		return nil, err
	}
	revocations, err := configureAuthentication(ctx, c, cfg, client, shared)
	if err != nil {
		return nil, err
	}
	if err := configureAuthorization(ctx, c, cfg.modes(), shared, state.acknowledged); err != nil {
		return nil, err
	}
	return &generic{
		state: state, ctx: ctx, drained: drained, config: cfg, server: c, backend: backend, loopback: loopback, client: client,
		informers: shared, informerName: name, presence: registry, encryption: transformers, storageConfig: stored, revocations: revocations,
	}, nil
}

// newServerConfig returns the part of the configuration that only depends on cfg.
func newServerConfig(cfg Config, loopback *rest.Config, state *state) *genericapiserver.Config {
	c := genericapiserver.NewConfig(codecs())
	c.EffectiveVersion = effectiveVersion{compatibility.DefaultComponentGlobalsRegistry.EffectiveVersionFor(basecompatibility.DefaultKubeComponent)}
	c.FeatureGate = utilfeature.DefaultFeatureGate
	// Mutating requests are counted before all filters. Upstream's filter of traces has
	// had no gate since 1.37 and cannot be left out without a copy of the chain: it
	// creates the attributes of a span and of three metrics that nothing records, 6 µs of
	// CPU and 34 allocations, a tenth of a get.
	c.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return state.writes.Count(genericapiserver.DefaultBuildHandlerChain(api, c))
	}
	c.LoopbackClientConfig = loopback
	c.MaxRequestsInFlight = cfg.MaxRequestsInFlight
	c.MaxMutatingRequestsInFlight = cfg.MaxMutatingRequestsInFlight
	c.RequestTimeout = cfg.RequestTimeout
	c.MaxRequestBodyBytes = limits.MaxBody
	c.JSONPatchMaxCopyBytes = limits.JSONPatchCopyBytes
	c.PublicAddress = cfg.AdvertiseAddress
	c.EnableProfiling = false // see installDebug
	c.Flagz = flagz{cfg}
	c.HealthzChecks, c.LivezChecks, c.ReadyzChecks = nil, nil, nil
	c.AddHealthChecks(healthz.PingHealthz, health.NewLogCheck(cfg.Logger))
	certificate := health.ServingCertificate(func() (tls.Certificate, error) { return cfg.PKI.Serving().TLS() })
	c.AddHealthzChecks(certificate)
	c.AddLivezChecks(certificate)
	c.DisabledPostStartHooks.Insert(replacedHooks...)
	c.LongRunningFunc = filters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"),
		sets.NewString("attach", "exec", "proxy", "log", "portforward"),
	)
	c.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	return c
}

// replacedHooks are upstream's start hooks whose work the server does before it serves
// (package bootstrap). The hooks wait a second before their first try, and exit the
// process when they fail for 30 seconds.
var replacedHooks = []string{
	rbacrest.PostStartHookName,
	schedulingrest.PostStartHookName,
	// Servers do not forward requests to each other.
	health.PeersHook,
}

// hooksWithoutResources returns the start hooks of upstream that never finish, or exit
// the process, if the resources that they write are switched off.
func hooksWithoutResources(enabled *serverstorage.ResourceConfig) (hooks []string) {
	needs := func(hook string, resources ...schema.GroupVersionResource) {
		for _, resource := range resources {
			if !enabled.ResourceEnabled(resource) {
				hooks = append(hooks, hook)
				return
			}
		}
	}
	services := corev1.SchemeGroupVersion.WithResource("services")
	endpoints := corev1.SchemeGroupVersion.WithResource("endpoints")
	leases := coordinationv1.SchemeGroupVersion.WithResource("leases")
	cidrs := networkingv1.SchemeGroupVersion.WithResource("servicecidrs")
	addresses := networkingv1.SchemeGroupVersion.WithResource("ipaddresses")
	needs("start-kube-apiserver-identity-lease-controller", leases)
	needs("start-kube-apiserver-identity-lease-garbage-collector", leases)
	needs("bootstrap-controller", services, endpoints, cidrs, addresses)
	return hooks
}

// newInformers returns informers for the server's own use, not started.
func newInformers(client kubernetes.Interface, pods *informers.SharedPods, name *cache.InformerName) clientgoinformers.SharedInformerFactory {
	return clientgoinformers.NewSharedInformerFactoryWithOptions(client, informerResync,
		clientgoinformers.WithTransform(pods.Transform), clientgoinformers.WithInformerName(name))
}

// codecs returns the codecs of the built-in APIs, with CBOR if its feature gate is on.
func codecs() serializer.CodecFactory {
	if utilfeature.DefaultFeatureGate.Enabled(genericfeatures.CBORServingAndStorage) {
		return serializer.NewCodecFactory(legacyscheme.Scheme, serializer.WithSerializer(cbor.NewSerializerInfo))
	}
	return legacyscheme.Codecs
}

func secureServing(cfg Config) (*genericapiserver.SecureServingInfo, error) {
	pair := cfg.PKI.Serving()
	cert, err := dynamiccertificates.NewStaticCertKeyContent("serving-cert", pair.Cert, pair.Key)
	if err != nil {
		return nil, fmt.Errorf("apiserver: serving certificate: %w", err)
	}
	return &genericapiserver.SecureServingInfo{Listener: cfg.Listener, Cert: cert}, nil
}

// storageConfig is how the built-in resources are stored.
type storageConfig struct {
	etcd    *genericoptions.EtcdOptions
	factory *serverstorage.DefaultStorageFactory
}

// configureStorage makes upstream's storage factory, and a RESTOptionsGetter with the
// storage of backend. It adds the health checks of both.
func configureStorage(c *genericapiserver.Config, cfg Config, backend *storage.Backend, transformers *encryption.Transformers) (storageConfig, error) {
	etcd := backend.EtcdOptions(nil)
	etcd.StorageConfig.StorageObjectCountTracker = c.StorageObjectCountTracker
	etcd.StorageConfig.EventsHistoryWindow = max(etcd.StorageConfig.EventsHistoryWindow, cfg.RequestTimeout+15*time.Second)
	fc := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(c.EffectiveVersion)
	fc.APIResourceConfig = c.MergedResourceConfig
	factory, err := fc.Complete(etcd).New()
	if err != nil {
		return storageConfig{}, fmt.Errorf("apiserver: storage factory: %w", err)
	}
	factory.StorageConfig.StorageObjectCountTracker = c.StorageObjectCountTracker
	c.ResourceTransformers = cfg.Transformers
	if transformers != nil {
		c.ResourceTransformers = transformers.ByResource
		// As upstream: an unavailable KMS is no reason to restart.
		c.HealthzChecks = append(c.HealthzChecks, transformers.HealthChecks...)
		c.AddReadyzChecks(transformers.HealthChecks...)
	}
	served := func(resource schema.GroupResource) bool { return servedInAnyVersion(c.MergedResourceConfig, resource) }
	c.RESTOptionsGetter = backend.RESTOptionsGetter(etcd.CreateRESTOptionsGetter(factory, c.ResourceTransformers), served)
	addEtcdChecks(c, backend, etcd.StorageConfig.HealthcheckTimeout, etcd.StorageConfig.ReadycheckTimeout)
	c.AddReadyzChecks(cfg.ReadyzChecks...)
	return storageConfig{etcd, factory}, nil
}

// servedInAnyVersion reports whether a built-in resource is served.
func servedInAnyVersion(enabled *serverstorage.ResourceConfig, resource schema.GroupResource) bool {
	for _, gv := range legacyscheme.Scheme.PrioritizedVersionsForGroup(resource.Group) {
		if enabled.ResourceEnabled(gv.WithResource(resource.Resource)) {
			return true
		}
	}
	return false
}

// served reports whether a built-in resource is served.
func (g *generic) served(resource schema.GroupResource) bool {
	return servedInAnyVersion(g.server.MergedResourceConfig, resource)
}

// derive returns a copy of the shared configuration for another server of the chain, with
// storage of its own codec. It mirrors CreateAPIExtensionsConfig and
// CreateAggregatorConfig of k8s.io/kubernetes/pkg/controlplane/apiserver.
func (g *generic) derive(base genericapiserver.Config, codec runtime.Codec, versioner runtime.GroupVersioner) (genericapiserver.Config, *genericoptions.EtcdOptions) {
	base.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	etcd := g.backend.EtcdOptions(codec)
	etcd.StorageConfig.EncodeVersioner = versioner
	etcd.StorageConfig.StorageObjectCountTracker = base.StorageObjectCountTracker
	etcd.StorageConfig.EventsHistoryWindow = g.etcd.StorageConfig.EventsHistoryWindow
	simple := &genericoptions.SimpleStorageFactory{StorageConfig: etcd.StorageConfig}
	base.RESTOptionsGetter = g.backend.RESTOptionsGetter(etcd.CreateRESTOptionsGetter(simple, base.ResourceTransformers), nil)
	return base, etcd
}

// addEtcdChecks adds kube-apiserver's checks of etcd, over the shared client.
func addEtcdChecks(c *genericapiserver.Config, backend *storage.Backend, healthTimeout, readyTimeout time.Duration) {
	check := func(timeout time.Duration) func(*http.Request) error {
		return func(r *http.Request) error {
			ctx, cancel := context.WithTimeout(r.Context(), timeout)
			defer cancel()
			if _, err := backend.Client().Get(ctx, backend.Keyspace().Health()); err != nil {
				return fmt.Errorf("error getting data from etcd: %w", err)
			}
			return nil
		}
	}
	c.AddHealthChecks(healthz.NamedGroupedCheck("etcd", "etcd", check(healthTimeout)))
	c.AddReadyzChecks(healthz.NamedGroupedCheck("etcd-readiness", "etcd-readiness", check(readyTimeout)))
}
