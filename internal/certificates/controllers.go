// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/kubernetes/pkg/controller/bootstrap"
	upstream "k8s.io/kubernetes/pkg/controller/certificates"
	"k8s.io/kubernetes/pkg/controller/certificates/approver"
	"k8s.io/kubernetes/pkg/controller/certificates/authority"
	"k8s.io/kubernetes/pkg/controller/certificates/cleaner"

	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// workers is the number of concurrent syncs of each controller. Upstream has 5. Here a
// request to the API server takes a millisecond.
const workers = 2

// Config configures the controllers. All fields except NodeInformer are required.
type Config struct {
	// Serves reports whether the API server serves a resource.
	Serves func(schema.GroupVersionResource) bool
	// NodeInformer is a running informer of all nodes. It is required if nodes are
	// served.
	NodeInformer cache.SharedIndexInformer

	// KubeletServingCA signs the serving certificates of kubelets. Only the API server
	// trusts it, and only for the node. CA signs all other certificates.
	CA, KubeletServingCA *authority.CertificateAuthority
	// SigningDuration is the validity of certificates. A request may ask for less.
	SigningDuration time.Duration
	// KubeletSigningDuration is the validity of certificates of kubelets that renew
	// them.
	KubeletSigningDuration time.Duration

	// Local means that the API server listens on loopback only, so that all nodes are
	// on this machine.
	Local bool
	// Reserved returns the DNS names, in lower case, and the IP addresses of the
	// control plane: of all servers, of their webhooks, and of certificates of
	// Server.ServingCertificate.
	Reserved func(context.Context) ([]string, []netip.Addr, error)
	// ServiceAddresses are the cluster IPs of the Service kubernetes.
	ServiceAddresses []netip.Addr
	// ServiceRanges are ranges of cluster IPs, in addition to the ServiceCIDRs in the
	// API.
	ServiceRanges []netip.Prefix

	Logger *zap.Logger
}

// Controllers are a component of the control plane.
type Controllers struct {
	config Config
	client kubernetes.Interface
}

// New returns the controllers.
func New(cfg Config) *Controllers { return &Controllers{config: cfg} }

// Name returns the name for logs. A component of the host cannot have this name.
func (*Controllers) Name() string { return "certificate controllers" }

// Run runs the controllers until ctx ends, and returns when all have ended. It skips
// controllers whose resources are not served, and all without certificates.k8s.io/v1.
func (c *Controllers) Run(ctx context.Context, config *rest.Config, ready func()) error {
	config = rest.CopyConfig(config)
	config.UserAgent = "certificate-controllers"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("certificates: client: %w", err)
	}
	c.client = client
	var running sync.WaitGroup
	defer running.Wait()
	if c.serves(certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")) {
		running.Go(func() { c.runRequests(ctx) })
		if c.serves(corev1.SchemeGroupVersion.WithResource("secrets")) {
			running.Go(func() { c.runTokens(ctx) })
		}
	}
	ready()
	<-ctx.Done()
	return nil
}

func (c *Controllers) serves(resource schema.GroupVersionResource) bool {
	return c.config.Serves(resource)
}

// runRequests runs the controllers of CertificateSigningRequests until ctx ends.
func (c *Controllers) runRequests(ctx context.Context) {
	factory := c.informers()
	defer factory.Shutdown()
	requests := factory.Certificates().V1().CertificateSigningRequests()
	if !synced(ctx, factory, requests.Informer()) {
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	names, records := c.names()
	if names != nil {
		defer records.Shutdown()
		informer := records.Core().V1().Secrets().Informer()
		if !synced(ctx, records, informer) {
			return
		}
		if c.config.NodeInformer != nil {
			running.Go(func() { newReleaser(c.client, c.config.Logger, c.config.NodeInformer, informer).run(ctx) })
		}
	}
	signer := &signer{
		client: c.client, ca: c.config.CA, servingCA: c.config.KubeletServingCA,
		duration: c.config.SigningDuration, kubeletDuration: c.config.KubeletSigningDuration, names: names, logger: c.config.Logger,
	}
	csrs := []*upstream.CertificateController{
		upstream.NewCertificateController(ctx, "csrsigning", c.client, requests, signer.handle),
	}
	if c.serves(authorizationv1.SchemeGroupVersion.WithResource("subjectaccessreviews")) {
		csrs = append(csrs, approver.NewCSRApprovingController(ctx, c.client, requests))
	}
	if c.serves(corev1.SchemeGroupVersion.WithResource("nodes")) {
		kubelets := &kubeletApprover{Config: c.config, client: c.client, names: names}
		csrs = append(csrs, upstream.NewCertificateController(ctx, "kubeletapproving", c.client, requests, kubelets.handle))
	}
	clean := cleaner.NewCSRCleanerController(c.client.CertificatesV1().CertificateSigningRequests(), requests)

	for _, controller := range csrs {
		running.Go(func() { controller.Run(ctx, workers) })
	}
	running.Go(func() { clean.Run(ctx, 1) })
}

// names returns the reservations of node names, and informers of their records, which the
// caller starts. It returns nil if nodes or Secrets are not served.
func (c *Controllers) names() (*nodeNames, informers.SharedInformerFactory) {
	if !c.serves(corev1.SchemeGroupVersion.WithResource("secrets")) || !c.serves(corev1.SchemeGroupVersion.WithResource("nodes")) {
		return nil, nil
	}
	factory := c.informers(informers.WithNamespace(metav1.NamespaceSystem),
		where(fields.OneTermEqualSelector("type", string(nodeidentity.SecretType))))
	informer := factory.Core().V1().Secrets().Informer()
	if err := informer.AddIndexers(cache.Indexers{byToken: indexByToken}); err != nil {
		c.config.Logger.Error("the number of names per join token is not limited", zap.Error(err))
	}
	return &nodeNames{client: c.client, records: informer.GetIndexer(),
		duration: c.config.SigningDuration, kubeletDuration: c.config.KubeletSigningDuration}, factory
}

// runTokens runs the controllers of bootstrap tokens until ctx ends. They watch no other
// Secrets, and no ConfigMap except cluster-info.
func (c *Controllers) runTokens(ctx context.Context) {
	tokens := c.informers(informers.WithNamespace(metav1.NamespaceSystem),
		where(fields.OneTermEqualSelector("type", string(bootstrapapi.SecretTypeBootstrapToken))))
	defer tokens.Shutdown()
	secrets := tokens.Core().V1().Secrets()
	if !synced(ctx, tokens, secrets.Informer()) {
		return
	}
	clean, err := bootstrap.NewTokenCleaner(c.client, secrets, bootstrap.DefaultTokenCleanerOptions())
	if err != nil {
		c.config.Logger.Error("expired bootstrap tokens are not deleted", zap.Error(err))
		return
	}
	var running sync.WaitGroup
	running.Go(func() { clean.Run(ctx) })
	defer running.Wait()

	if !c.serves(corev1.SchemeGroupVersion.WithResource("configmaps")) {
		return
	}
	info := c.informers(informers.WithNamespace(metav1.NamespacePublic),
		where(fields.OneTermEqualSelector(metav1.ObjectNameField, bootstrapapi.ConfigMapClusterInfo)))
	defer info.Shutdown()
	configMaps := info.Core().V1().ConfigMaps()
	if !synced(ctx, info, configMaps.Informer()) {
		return
	}
	sign, err := bootstrap.NewSigner(c.client, secrets, configMaps, bootstrap.DefaultSignerOptions())
	if err != nil {
		c.config.Logger.Error("the ConfigMap cluster-info is not signed", zap.Error(err))
		return
	}
	sign.Run(ctx)
}

// informers returns a factory without resync: upstream's controllers queue retries
// themselves.
func (c *Controllers) informers(options ...informers.SharedInformerOption) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(c.client, 0, options...)
}

func where(selector fields.Selector) informers.SharedInformerOption {
	return informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = selector.String() })
}

// synced starts the factory and reports whether informer syncs before ctx ends.
// Controllers are created after that: their own wait polls every 100 ms, and logs a stop
// of the control plane during the wait as an error.
func synced(ctx context.Context, factory informers.SharedInformerFactory, informer cache.SharedIndexInformer) bool {
	factory.StartWithContext(ctx)
	return cache.WaitFor(ctx, "", informer.HasSyncedChecker())
}
