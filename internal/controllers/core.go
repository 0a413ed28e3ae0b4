// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	serviceaccounttoken "k8s.io/kubernetes/pkg/serviceaccount"
)

const (
	// workers is the number of concurrent syncs of a controller with more than one.
	// Upstream has 5 to 20. Here a request to the API server takes a millisecond.
	workers = 2
	// deletionWorkers is the number for controllers whose deletions others wait for.
	deletionWorkers = 5
	// resync is the resync period of the API server's informers. Upstream has 5 minutes.
	resync = 10 * time.Minute
)

// serviceAccounts creates the service account "default" in every namespace.
func (r *run) serviceAccounts() error {
	accounts := accountInformer{ServiceAccountInformer: r.Informers.Core().V1().ServiceAccounts()}
	accounts.tracking.SharedIndexInformer = accounts.ServiceAccountInformer.Informer()
	namespaces := namespaceInformer{NamespaceInformer: r.Informers.Core().V1().Namespaces()}
	namespaces.tracking.SharedIndexInformer = namespaces.NamespaceInformer.Informer()
	controller, err := serviceaccount.NewServiceAccountsController(klog.FromContext(r.ctx), &accounts, &namespaces, r.client,
		serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return fmt.Errorf("service accounts: %w", err)
	}
	r.loop(func(ctx context.Context) {
		accounts.tracking.wait(ctx)
		namespaces.tracking.wait(ctx)
		controller.Run(ctx, 1)
	})
	return nil
}

// rootCA creates the ConfigMap kube-root-ca.crt in every namespace. It watches no other
// ConfigMap.
func (r *run) rootCA() error {
	named := fields.OneTermEqualSelector(metav1.ObjectNameField, rootcacertpublisher.RootCACertConfigMapName).String()
	factory := informers.NewSharedInformerFactoryWithOptions(r.client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = named }))
	configMaps := factory.Core().V1().ConfigMaps()
	synced := configMaps.Informer().HasSyncedChecker()
	factory.StartWithContext(r.ctx)
	r.loop(func(ctx context.Context) {
		defer factory.Shutdown()
		if !cache.WaitFor(ctx, "", synced) {
			return
		}
		publisher, err := rootcacertpublisher.NewPublisher(configMaps, r.Informers.Core().V1().Namespaces(), r.client, r.RootCA)
		if err != nil {
			r.Logger.Error("the ConfigMap "+rootcacertpublisher.RootCACertConfigMapName+" is not published", zap.Error(err))
			return
		}
		publisher.Run(ctx, 1)
	})
	return nil
}

// tokens fills Secrets of type kubernetes.io/service-account-token. As in
// kube-controller-manager, there are none without a key.
func (r *run) tokens() error {
	if r.ServiceAccountKey == nil {
		return nil
	}
	generator, err := serviceaccounttoken.JWTTokenGenerator(serviceaccounttoken.LegacyIssuer, r.ServiceAccountKey)
	if err != nil {
		return fmt.Errorf("service-account tokens: %w", err)
	}
	controller, err := serviceaccount.NewTokensController(klog.FromContext(r.ctx),
		r.Informers.Core().V1().ServiceAccounts(), r.Informers.Core().V1().Secrets(), r.client,
		serviceaccount.TokensControllerOptions{TokenGenerator: generator, RootCA: r.RootCA})
	if err != nil {
		return fmt.Errorf("service-account tokens: %w", err)
	}
	r.loop(func(ctx context.Context) { controller.Run(ctx, workers) })
	return nil
}

// pods deletes pods that no kubelet deletes.
func (r *run) pods() error {
	collector := newPodCollector(r.client, r.Informers.Core().V1().Pods().Lister(), r.Informers.Core().V1().Nodes().Lister())
	r.loop(collector.run)
	return nil
}

// clusterRoles fills in the rules of aggregated ClusterRoles.
func (r *run) clusterRoles() error {
	controller := clusterroleaggregation.NewClusterRoleAggregation(r.Informers.Rbac().V1().ClusterRoles(), r.client.RbacV1())
	r.loop(func(ctx context.Context) { controller.Run(ctx, 1) })
	return nil
}
