package controllers

import (
	"context"
	"crypto"
	"fmt"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Config says what the controllers work with. All fields but NewInformers are
// required.
type Config struct {
	// Informers are those of the API server, and run already.
	Informers informers.SharedInformerFactory
	// NewInformers, if not nil, makes others in their place for each Run: what
	// upstream's controllers put into informers they never take back, which would
	// add up where Run is called again and again.
	NewInformers func() informers.SharedInformerFactory
	// Serves tells whether the API server serves a built-in resource.
	Serves func(schema.GroupVersionResource) bool
	// WatchAPIs has changed called whenever an API was defined, registered, or
	// removed, until ctx ends.
	WatchAPIs func(ctx context.Context, changed func()) error

	// FirstUse returns a channel that is closed when there may be objects of a
	// resource: custom resources that nobody uses need no informer. If nil, there may
	// be objects of all.
	FirstUse func(context.Context, schema.GroupResource) <-chan struct{}

	// RootCA is published in every namespace, in PEM.
	RootCA []byte
	// ServiceAccountKey signs the tokens that are kept in Secrets.
	ServiceAccountKey crypto.Signer

	Logger *zap.Logger
}

// Controllers are a component of the control plane.
type Controllers struct {
	Config
	name string
	// kinds are those of which there are Informers.
	kinds map[schema.GroupVersion][]string
	list  func(*run) []starter
}

// ServiceAccounts returns the controller that the first pod of a new namespace
// waits for.
func ServiceAccounts(cfg Config) *Controllers {
	kinds := map[schema.GroupVersion][]string{{Version: "v1"}: {"namespaces", "serviceaccounts"}}
	return &Controllers{cfg, "service account controller", kinds, func(r *run) []starter {
		return []starter{{r.serviceAccounts, resources("namespaces", "serviceaccounts")}}
	}}
}

// Others returns all other controllers, most of which clean up.
func Others(cfg Config) *Controllers {
	return &Controllers{cfg, "core controllers", shared, func(r *run) []starter {
		return []starter{
			{r.rootCA, resources("namespaces", "configmaps")},
			{r.tokens, resources("serviceaccounts", "secrets")},
			{r.clusterRoles, []schema.GroupVersionResource{rbacv1.SchemeGroupVersion.WithResource("clusterroles")}},
			{r.namespaces, resources("namespaces")},
			{r.pods, resources("pods", "nodes")},
			{r.objects, nil},
		}
	}}
}

// userAgent is the User-Agent of the controllers. The part before the slash is the
// manager of their fields in managedFields, as upstream's.
const userAgent = "kube-controller-manager/core-controllers"

// Name is for people. No component of a host can have it.
func (c *Controllers) Name() string { return c.name }

// Run runs the controllers until ctx ends, and returns when all have ended.
// Those whose resources are not served do not run.
func (c *Controllers) Run(ctx context.Context, config *rest.Config, ready func()) error {
	config = rest.CopyConfig(config)
	config.UserAgent = userAgent
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	// What is deprecated is collected too.
	config.WarningHandler = rest.NoWarnings{}
	ctx, cancel := context.WithCancel(ctx)
	r := &run{Config: c.Config, ctx: ctx, config: config}
	if c.NewInformers != nil {
		r.Informers = c.NewInformers()
		defer r.Informers.Shutdown()
	}
	// Nothing that was started is left behind.
	defer r.running.Wait()
	defer cancel()
	if c.NewInformers != nil {
		if err := c.startInformers(ctx, r.Informers); err != nil || ctx.Err() != nil {
			return err
		}
	}
	var err error
	if r.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("controllers: client: %w", err)
	}
	if r.metadata, err = metadata.NewForConfig(config); err != nil {
		return fmt.Errorf("controllers: client: %w", err)
	}
	for _, one := range c.list(r) {
		if !r.serves(one.needs) {
			continue
		}
		if err := one.start(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("controllers: %w", err)
		}
	}
	ready()
	<-ctx.Done()
	return nil
}

// startInformers makes all that there may be, and waits until they know what there
// is, as those of the API server do, or ctx ends.
func (c *Controllers) startInformers(ctx context.Context, factory informers.SharedInformerFactory) error {
	for gv, kinds := range c.kinds {
		for _, kind := range kinds {
			informer, err := factory.ForResource(gv.WithResource(kind))
			if err != nil {
				return fmt.Errorf("controllers: informers: %w", err)
			}
			informer.Informer()
		}
	}
	factory.StartWithContext(ctx)
	factory.WaitForCacheSyncWithContext(ctx)
	return nil
}

// starter starts a controller where all that it needs is served.
type starter struct {
	start func() error
	needs []schema.GroupVersionResource
}

// run is what the controllers have while they run.
type run struct {
	Config
	ctx      context.Context
	config   *rest.Config
	client   *kubernetes.Clientset
	metadata metadata.Interface
	first    []*metav1.APIResourceList // what is served, when asked first
	running  sync.WaitGroup
}

// loop runs a controller until it returns, which is when ctx ends.
func (r *run) loop(run func(context.Context)) {
	r.running.Go(func() { run(r.ctx) })
}

func (r *run) serves(needs []schema.GroupVersionResource) bool {
	for _, resource := range needs {
		if !r.Serves(resource) {
			return false
		}
	}
	return true
}

// resources are of the core group.
func resources(names ...string) (all []schema.GroupVersionResource) {
	for _, name := range names {
		all = append(all, corev1.SchemeGroupVersion.WithResource(name))
	}
	return all
}
