// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// Config configures the controllers. All fields except NewInformers, FirstUse,
// WaitForWrites and Syncs are required.
type Config struct {
	// Informers are the running informers of the API server.
	Informers informers.SharedInformerFactory
	// NewInformers, if not nil, creates other informers for each Run. Upstream's
	// controllers never remove their handlers from an informer: with repeated calls of
	// Run they would accumulate in Informers.
	NewInformers func() informers.SharedInformerFactory
	// Serves reports whether the API server serves a built-in resource.
	Serves func(schema.GroupVersionResource) bool
	// WatchAPIs calls changed after each creation, registration or removal of an API,
	// until ctx ends.
	WatchAPIs func(ctx context.Context, changed func()) error
	// APIsDiscovered reports whether the result of a discovery has all APIs that have
	// been created or registered, and none that has been removed.
	APIsDiscovered func(preferred []*metav1.APIResourceList) bool

	// Acknowledged returns the revision of the newest write of a resource that the API
	// server has acknowledged, or 0.
	Acknowledged func(schema.GroupResource) uint64

	// FirstUse returns a channel that is closed when a resource may have objects:
	// unused custom resources need no informer. If nil, all resources may have objects.
	FirstUse func(context.Context, schema.GroupResource) <-chan struct{}

	// WaitForWrites returns when the mutating requests have ended that the API server
	// received before the call, or with an error when ctx ends. Deleted namespaces wait
	// for that. If nil, other API servers share the etcd, and deleted namespaces wait for
	// upstream's grace period.
	WaitForWrites func(ctx context.Context) error
	// Syncs has the syncs in flight that a rollback must cancel. It may be nil.
	Syncs *Syncs
	// AggregatedAPIs returns the group versions that other API servers serve.
	AggregatedAPIs func() []schema.GroupVersion

	// RootCA is published in every namespace, in PEM.
	RootCA []byte
	// ServiceAccountKey signs the tokens in Secrets. If nil, Secrets get no tokens.
	ServiceAccountKey crypto.Signer

	Logger *zap.Logger
}

// Controllers are a component of the control plane.
type Controllers struct {
	Config
	name string
	// kinds are the kinds that Informers has.
	kinds map[schema.GroupVersion][]string
	list  func(*run) []starter
}

// ServiceAccounts returns the controller of service accounts. The first pod of a new
// namespace waits for it.
func ServiceAccounts(cfg Config) *Controllers {
	kinds := map[schema.GroupVersion][]string{{Version: "v1"}: {"namespaces", "serviceaccounts"}}
	return &Controllers{cfg, "service account controller", kinds, func(r *run) []starter {
		return []starter{{r.serviceAccounts, resources("namespaces", "serviceaccounts")}}
	}}
}

// Core returns all other controllers. Most of them clean up.
func Core(cfg Config) *Controllers {
	return &Controllers{cfg, "core controllers", shared, func(r *run) []starter {
		return []starter{
			{r.rootCA, resources("namespaces", "configmaps")},
			{r.tokens, resources("serviceaccounts", "secrets")},
			{r.clusterRoles, []schema.GroupVersionResource{rbacv1.SchemeGroupVersion.WithResource("clusterroles")}},
			{r.namespaces, resources("namespaces")},
			{r.pods, resources("pods", "nodes")},
			{r.allKinds, nil},
		}
	}}
}

// userAgent is the User-Agent of the controllers. The part before the slash is the
// manager of their fields in managedFields, as upstream's.
const userAgent = "kube-controller-manager/core-controllers"

// Name returns the name for logs. A component of the host cannot have this name.
func (c *Controllers) Name() string { return c.name }

// Run runs the controllers until ctx ends, and returns when all have ended. It skips
// controllers whose resources are not served.
func (c *Controllers) Run(ctx context.Context, config *rest.Config, ready func()) error {
	config = rest.CopyConfig(config)
	config.UserAgent = userAgent
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	// Deprecated resources are collected too.
	config.WarningHandler = rest.NoWarnings{}
	ctx, cancel := context.WithCancel(ctx)
	r := &run{Config: c.Config, ctx: ctx, config: config}
	if c.NewInformers != nil {
		r.Informers = c.NewInformers()
		defer r.Informers.Shutdown()
	}
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
	for _, controller := range c.list(r) {
		if !r.serves(controller.needs) {
			continue
		}
		if err := controller.start(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("controllers: %w", err)
		}
	}
	ready()
	<-ctx.Done()
	return nil
}

// startInformers starts the informers of all kinds, and waits until they have synced or
// ctx ends.
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

// starter starts a controller.
type starter struct {
	start func() error
	needs []schema.GroupVersionResource // must be served
}

// run is one call of Run.
type run struct {
	Config
	ctx      context.Context
	config   *rest.Config
	client   *kubernetes.Clientset
	metadata metadata.Interface
	// discovered is the result of the first discovery.
	discovered []*metav1.APIResourceList
	running    sync.WaitGroup
}

// loop runs a controller in a goroutine. Controllers return when ctx ends.
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

// resources returns resources of the core group.
func resources(names ...string) (all []schema.GroupVersionResource) {
	for _, name := range names {
		all = append(all, corev1.SchemeGroupVersion.WithResource(name))
	}
	return all
}
