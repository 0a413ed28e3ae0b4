// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/kubernetes/pkg/kubeapiserver"

	"github.com/kubembed/kubembed/internal/apiserver/encryption"
	"github.com/kubembed/kubembed/internal/apiserver/health"
	"github.com/kubembed/kubembed/internal/storage"
)

// storageConfig is how the built-in resources are stored.
type storageConfig struct {
	etcd    *genericoptions.EtcdOptions
	factory *serverstorage.DefaultStorageFactory
}

// configureStorage makes upstream's storage factory, and a RESTOptionsGetter with the
// storage of the backend. It adds the health checks of both.
func configureStorage(e *environment, c *genericapiserver.Config, transformers *encryption.Transformers) (storageConfig, error) {
	etcd := e.backend.EtcdOptions(nil)
	etcd.StorageConfig.StorageObjectCountTracker = c.StorageObjectCountTracker
	etcd.StorageConfig.EventsHistoryWindow = max(etcd.StorageConfig.EventsHistoryWindow, e.config.RequestTimeout+15*time.Second)
	fc := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(c.EffectiveVersion)
	fc.APIResourceConfig = c.MergedResourceConfig
	factory, err := fc.Complete(etcd).New()
	if err != nil {
		return storageConfig{}, fmt.Errorf("apiserver: storage factory: %w", err)
	}
	factory.StorageConfig.StorageObjectCountTracker = c.StorageObjectCountTracker
	if own := e.config.Transformers; own != nil {
		c.ResourceTransformers = encryption.Host{Field: "Config.Transformers", Transformers: own, Logger: e.config.Logger}
	}
	if transformers != nil {
		c.ResourceTransformers = transformers.ByResource
		// As upstream: an unavailable KMS is no reason to restart.
		c.HealthzChecks = append(c.HealthzChecks, transformers.HealthChecks...)
		c.AddReadyzChecks(transformers.HealthChecks...)
	}
	served := func(resource schema.GroupResource) bool { return servedInAnyVersion(c.MergedResourceConfig, resource) }
	c.RESTOptionsGetter = e.backend.RESTOptionsGetter(etcd.CreateRESTOptionsGetter(factory, c.ResourceTransformers), served)
	addEtcdChecks(c, e.backend, e.backend.Client(), "etcd", "etcd-readiness", etcd.StorageConfig.HealthcheckTimeout, etcd.StorageConfig.ReadycheckTimeout)
	for i, client := range e.backend.Overrides() {
		addEtcdChecks(c, e.backend, client, fmt.Sprintf("etcd-override-%d", i), fmt.Sprintf("etcd-override-readiness-%d", i), etcd.StorageConfig.HealthcheckTimeout, etcd.StorageConfig.ReadycheckTimeout)
	}
	for _, check := range e.config.ReadyzChecks {
		c.AddReadyzChecks(health.Contain(check, e.config.hostCode("Config.ReadyzChecks"+": the check "+check.Name())))
	}
	return storageConfig{etcd, factory}, nil
}

// derive returns a copy of the shared configuration for another server of the chain, with
// storage of its own codec. It mirrors CreateAPIExtensionsConfig and
// CreateAggregatorConfig of k8s.io/kubernetes/pkg/controlplane/apiserver.
func (stored storageConfig) derive(e *environment, base genericapiserver.Config, codec runtime.Codec, versioner runtime.GroupVersioner) (genericapiserver.Config, *genericoptions.EtcdOptions) {
	base.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	etcd := e.backend.EtcdOptions(codec)
	etcd.StorageConfig.EncodeVersioner = versioner
	etcd.StorageConfig.StorageObjectCountTracker = base.StorageObjectCountTracker
	etcd.StorageConfig.EventsHistoryWindow = stored.etcd.StorageConfig.EventsHistoryWindow
	simple := &genericoptions.SimpleStorageFactory{StorageConfig: etcd.StorageConfig}
	base.RESTOptionsGetter = e.backend.RESTOptionsGetter(etcd.CreateRESTOptionsGetter(simple, base.ResourceTransformers), nil)
	return base, etcd
}

// addEtcdChecks adds kube-apiserver's checks of etcd, over the shared client.
func addEtcdChecks(c *genericapiserver.Config, backend *storage.Backend, client *clientv3.Client, health, ready string, healthTimeout, readyTimeout time.Duration) {
	check := func(timeout time.Duration) func(*http.Request) error {
		return func(r *http.Request) error {
			ctx, cancel := context.WithTimeout(r.Context(), timeout)
			defer cancel()
			if err := backend.Answers(ctx, client); err != nil {
				return fmt.Errorf("error getting data from etcd: %w", err)
			}
			return nil
		}
	}
	c.AddHealthChecks(healthz.NamedGroupedCheck(health, "etcd", check(healthTimeout)))
	c.AddReadyzChecks(healthz.NamedGroupedCheck(ready, "etcd-readiness", check(readyTimeout)))
}
