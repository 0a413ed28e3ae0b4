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
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	flowcontrolv1 "k8s.io/kubernetes/pkg/apis/flowcontrol/v1"
	"k8s.io/kubernetes/pkg/kubeapiserver"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"

	"github.com/kubembed/kubembed/internal/apiserver/audit"
	"github.com/kubembed/kubembed/internal/apiserver/convergence"
	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/apiserver/egress"
	"github.com/kubembed/kubembed/internal/apiserver/encryption"
	"github.com/kubembed/kubembed/internal/apiserver/health"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/apiserver/openapi"
	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/storage"
)

// generic is what the three servers of the chain share: upstream's
// controlplane/apiserver.BuildGenericConfig without its flags and files.
type generic struct {
	ctx       context.Context // lives as long as the server
	drained   <-chan struct{} // closed when no request is served any more
	config    Config
	server    *genericapiserver.Config
	backend   *storage.Backend
	etcd      *genericoptions.EtcdOptions
	factory   *serverstorage.DefaultStorageFactory
	loopback  *rest.Config
	client    *kubernetes.Clientset
	informers clientgoinformers.SharedInformerFactory
	// encryption is nil where nothing is encrypted, or by Config.Transformers.
	encryption *encryption.Transformers

	admissions lifecycle.Group // calls of the admission chain
	dialer     *egress.Dialer  // to kubelets, and to what users may proxy to
	boot       health.Boot
	uses       crd.FirstUses // of custom resources
	storages   crd.Storages
	policies   convergence.Policies
	pods       *informers.SharedPods
	writes     writes
	presences  *presences
	bodies     *bodies
	revoked    *revokedNodes
	services   serviceCreator // the storage of Services; nil where they are switched off
	settled    atomic.Bool    // Start has succeeded, and Stop has not begun

	revokedCertificates *revokedCertificates
	// acknowledged is what decisions have to know of.
	acknowledged *convergence.Writes
}

// informerResync is what kube-apiserver uses.
const informerResync = 10 * time.Minute

// newGeneric fills a generic server configuration.
func newGeneric(ctx context.Context, drained <-chan struct{}, cfg Config, backend *storage.Backend, acknowledged *convergence.Writes, loopback *rest.Config) (*generic, error) {
	g := &generic{ctx: ctx, drained: drained, config: cfg, backend: backend, acknowledged: acknowledged, loopback: loopback, dialer: egress.NewDialer(ctx, cfg.Logger), pods: informers.NewSharedPods(ctx), bodies: newBodies(cfg.StorageUsed)}
	c := genericapiserver.NewConfig(codecs())
	g.server = c

	c.EffectiveVersion = effectiveVersion{compatibility.DefaultComponentGlobalsRegistry.EffectiveVersionFor(basecompatibility.DefaultKubeComponent)}
	c.FeatureGate = utilfeature.DefaultFeatureGate
	c.BuildHandlerChainFunc = g.writes.chain
	c.LoopbackClientConfig = loopback
	c.MaxRequestsInFlight = cfg.MaxRequestsInFlight
	c.MaxMutatingRequestsInFlight = cfg.MaxMutatingRequestsInFlight
	c.RequestTimeout = cfg.RequestTimeout
	c.MaxRequestBodyBytes = maxBody
	c.JSONPatchMaxCopyBytes = jsonPatchCopyBytes
	c.PublicAddress = cfg.AdvertiseAddress
	c.EnableProfiling = false // see installDebug
	c.Flagz = flags{cfg}
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

	var err error
	if cfg.Shared {
		if c.APIServerID, err = cfg.serverID(); err != nil {
			return nil, err
		}
	}
	if g.presences, err = g.newPresences(); err != nil {
		return nil, err
	}
	if g.client, err = kubernetes.NewForConfig(loopback); err != nil {
		return nil, fmt.Errorf("apiserver: loopback client: %w", err)
	}
	g.informers = g.newInformers()
	informers.TrackHandlers(g.informers)
	if c.MergedResourceConfig, err = runtimeconfig.Builtin(cfg.RuntimeConfig); err != nil {
		return nil, fieldpath.New("apiserver", "Config.RuntimeConfig", "%w", err)
	}
	c.DisabledPostStartHooks.Insert(hooksWithoutResources(c.MergedResourceConfig)...)
	c.AddHealthChecks(g.boot.Checks(c.MergedResourceConfig, slices.Contains(cfg.modes(), modes.ModeRBAC))...)
	if err := g.encrypt(); err != nil {
		return nil, err
	}
	// First of what can fail otherwise: from here on upstream starts goroutines that only
	// a server that runs can end.
	if err := audit.Apply(c, audit.Options(cfg.Audit), cfg.Dir); err != nil {
		return nil, err
	}
	if c.MergedResourceConfig.ResourceEnabled(flowcontrolv1.SchemeGroupVersion.WithResource("flowschemas")) {
		c.FlowControl = utilflowcontrol.New(g.informers, g.client.FlowcontrolV1(), c.MaxRequestsInFlight+c.MaxMutatingRequestsInFlight)
	}
	c.OpenAPIConfig, c.OpenAPIV3Config = openapi.Configs()
	if err := g.secureServing(); err != nil {
		return nil, err
	}
	if err := g.storage(); err != nil {
		return nil, err
	}
	if err := g.authentication(); err != nil {
		return nil, err
	}
	if err := g.authorization(); err != nil {
		return nil, err
	}
	return g, nil
}

// replacedHooks are upstream's hooks whose work is done before the server
// serves (bootstrap.go). They wait a second before their first try, and end
// the process when they fail for 30.
var replacedHooks = []string{
	rbacrest.PostStartHookName,
	schedulingrest.PostStartHookName,
	// No server is sent what another knows and it does not.
	health.PeersHook,
}

// hooksWithoutResources are upstream's start hooks that never finish, or end
// the process, when the resources they write are switched off.
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

// newInformers are those of the server, not started.
func (g *generic) newInformers() clientgoinformers.SharedInformerFactory {
	return clientgoinformers.NewSharedInformerFactoryWithOptions(g.client, informerResync,
		clientgoinformers.WithTransform(g.pods.Transform), clientgoinformers.WithInformerName(g.config.informerName))
}

// codecs are those of the built-in APIs, with CBOR for hosts that switch its gate on.
func codecs() serializer.CodecFactory {
	if utilfeature.DefaultFeatureGate.Enabled(genericfeatures.CBORServingAndStorage) {
		return serializer.NewCodecFactory(legacyscheme.Scheme, serializer.WithSerializer(cbor.NewSerializerInfo))
	}
	return legacyscheme.Codecs
}

func (g *generic) secureServing() error {
	serving := g.config.PKI.Serving()
	cert, err := dynamiccertificates.NewStaticCertKeyContent("serving-cert", serving.Cert, serving.Key)
	if err != nil {
		return fmt.Errorf("apiserver: serving certificate: %w", err)
	}
	g.server.SecureServing = &genericapiserver.SecureServingInfo{Listener: g.config.Listener, Cert: cert}
	return nil
}

// storage builds upstream's storage factory, and hands its RESTOptions to our
// backend.
func (g *generic) storage() error {
	g.etcd = g.backend.EtcdOptions(nil)
	g.etcd.StorageConfig.StorageObjectCountTracker = g.server.StorageObjectCountTracker
	g.etcd.StorageConfig.EventsHistoryWindow = max(g.etcd.StorageConfig.EventsHistoryWindow, g.config.RequestTimeout+15*time.Second)
	fc := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(g.server.EffectiveVersion)
	fc.APIResourceConfig = g.server.MergedResourceConfig
	var err error
	if g.factory, err = fc.Complete(g.etcd).New(); err != nil {
		return fmt.Errorf("apiserver: storage factory: %w", err)
	}
	g.factory.StorageConfig.StorageObjectCountTracker = g.server.StorageObjectCountTracker
	g.server.ResourceTransformers = g.config.Transformers
	if g.encryption != nil {
		g.server.ResourceTransformers = g.encryption.ByResource
		// As upstream has it: a KMS that is away is no reason to restart.
		g.server.HealthzChecks = append(g.server.HealthzChecks, g.encryption.HealthChecks...)
		g.server.AddReadyzChecks(g.encryption.HealthChecks...)
	}
	g.server.RESTOptionsGetter = g.backend.RESTOptionsGetter(g.etcd.CreateRESTOptionsGetter(g.factory, g.server.ResourceTransformers), g.served)
	g.etcdHealth()
	g.server.AddReadyzChecks(g.config.ReadyzChecks...)
	return nil
}

// served tells whether a built-in resource is served in any of its versions.
func (g *generic) served(resource schema.GroupResource) bool {
	for _, gv := range legacyscheme.Scheme.PrioritizedVersionsForGroup(resource.Group) {
		if g.server.MergedResourceConfig.ResourceEnabled(gv.WithResource(resource.Resource)) {
			return true
		}
	}
	return false
}

// derive returns a copy of the shared configuration for another server of the
// chain, with storage of its own codec. It mirrors CreateAPIExtensionsConfig
// and CreateAggregatorConfig of k8s.io/kubernetes/pkg/controlplane/apiserver.
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

// etcdHealth adds the checks that kube-apiserver has, over the shared client.
func (g *generic) etcdHealth() {
	check := func(timeout time.Duration) func(*http.Request) error {
		return func(r *http.Request) error {
			ctx, cancel := context.WithTimeout(r.Context(), timeout)
			defer cancel()
			if _, err := g.backend.Client().Get(ctx, g.backend.Prefix()+"/health"); err != nil {
				return fmt.Errorf("error getting data from etcd: %w", err)
			}
			return nil
		}
	}
	g.server.AddHealthChecks(healthz.NamedGroupedCheck("etcd", "etcd", check(g.etcd.StorageConfig.HealthcheckTimeout)))
	g.server.AddReadyzChecks(healthz.NamedGroupedCheck("etcd-readiness", "etcd-readiness", check(g.etcd.StorageConfig.ReadycheckTimeout)))
}
