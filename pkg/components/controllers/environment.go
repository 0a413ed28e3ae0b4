// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"

	"github.com/kubembed/kubembed/internal/apiserver/loopback"
	"github.com/kubembed/kubembed/internal/served"
)

// environment is shared by the controllers of one run, like upstream's ControllerContext.
type environment struct {
	settings  *kubectrlmgrconfig.KubeControllerManagerConfiguration
	config    *rest.Config
	informers informers.SharedInformerFactory
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	// served are the resources that the control plane serves.
	served served.Resources
}

// mapperAge is upstream's maximum age of the list of API resources: custom resources
// change.
const mapperAge = 30 * time.Second

func newEnvironment(ctx context.Context, settings *kubectrlmgrconfig.KubeControllerManagerConfiguration, config *rest.Config) (*environment, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	e := &environment{settings: settings, config: config}
	client, err := e.client("shared-informers")
	if err != nil {
		return nil, err
	}
	// A random factor, as upstream, keeps resyncs from coinciding.
	resync := time.Duration(float64(settings.Generic.MinResyncPeriod.Duration) * (1 + rand.Float64()))
	transform := cache.TransformFunc(dropManagedFields)
	if share := loopback.Share(config); share != nil {
		transform = share // drops them too
	}
	e.informers = informers.NewSharedInformerFactoryWithOptions(client, resync, informers.WithTransform(transform))

	discovery, err := e.client("controller-discovery")
	if err != nil {
		return nil, err
	}
	e.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discovery.Discovery()))
	go wait.UntilWithContext(ctx, func(context.Context) { e.mapper.Reset() }, mapperAge)
	return e, nil
}

// dropManagedFields removes managedFields, which no controller reads, from the caches.
func dropManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

// configFor returns a client configuration with name in the user agent, for audit logs.
func (e *environment) configFor(name string) *rest.Config {
	return rest.AddUserAgent(rest.CopyConfig(e.config), name)
}

func (e *environment) client(name string) (*kubernetes.Clientset, error) {
	client, err := kubernetes.NewForConfig(e.configFor(name))
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", name, err)
	}
	return client, nil
}
