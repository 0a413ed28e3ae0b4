// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	upstream "k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/profile"

	"github.com/kubembed/kubembed/internal/apiserver/loopback"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/served"
)

// userAgent identifies the scheduler in audit logs.
const userAgent = "kube-scheduler"

// dependencies are the clients, informers and events that upstream's command creates
// for the scheduler: Setup and Run in k8s.io/kubernetes/cmd/kube-scheduler/app, without
// leader election and the HTTP server.
type dependencies struct {
	config    *rest.Config
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	// dynamic has the informers for custom resources of plugins.
	dynamic dynamicinformer.DynamicSharedInformerFactory
	events  broadcaster
}

// broadcaster is upstream's EventBroadcasterAdapter. It writes to events.k8s.io if that
// is served, and otherwise to core/v1. Upstream deprecates the name and uses it.
type broadcaster interface {
	StartRecordingToSink(stop <-chan struct{})
	NewRecorder(name string) events.EventRecorderLogger
	Shutdown()
}

func newDependencies(ctx context.Context, config *rest.Config) (*dependencies, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = userAgent
	client, err := newClient(config)
	if err != nil {
		return nil, err
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	// No name for the informers: it labels metrics, and only one scheduler of a process
	// could have it.
	factory := upstream.NewInformerFactory(client, 0, nil)
	if share := loopback.Share(config); share != nil {
		// It drops managed fields, as upstream's transform does.
		if err := factory.Core().V1().Pods().Informer().SetTransform(share); err != nil {
			return nil, err
		}
	}
	return &dependencies{
		config:    config,
		client:    client,
		informers: factory,
		dynamic:   dynamicinformer.NewFilteredDynamicSharedInformerFactory(dynamicClient, 0, corev1.NamespaceAll, nil),
		events:    events.NewEventBroadcasterAdapterWithContext(ctx, client),
	}, nil
}

func (s *Scheduler) newScheduler(ctx context.Context, d *dependencies) (*upstream.Scheduler, error) {
	// Upstream modifies the configuration, so each run has its own copy.
	c, err := complete(s.config.Configuration.DeepCopy())
	if err != nil {
		return nil, err
	}
	sched, err := upstream.New(ctx, d.client, d.informers, d.dynamic,
		profile.RecorderFactory(func(name string) events.EventRecorderLogger { return d.events.NewRecorder(name) }),
		upstream.WithComponentConfigVersion(c.APIVersion),
		upstream.WithKubeConfig(d.config),
		upstream.WithProfiles(c.Profiles...),
		upstream.WithPercentageOfNodesToScore(c.PercentageOfNodesToScore),
		upstream.WithFrameworkOutOfTreeRegistry(s.config.Plugins),
		upstream.WithPodMaxBackoffSeconds(c.PodMaxBackoffSeconds),
		upstream.WithPodInitialBackoffSeconds(c.PodInitialBackoffSeconds),
		upstream.WithExtenders(c.Extenders...),
		upstream.WithParallelism(c.Parallelism),
	)
	if err != nil {
		return nil, fmt.Errorf("Config.Configuration: %w", err)
	}
	return sched, nil
}

// sync starts the informers and returns when the scheduler has handled all objects of
// their first lists.
func (d *dependencies) sync(ctx context.Context, sched *upstream.Scheduler) error {
	d.informers.StartWithContext(ctx)
	d.dynamic.Start(ctx.Done())
	if err := d.requireResources(); err != nil {
		return err
	}
	if err := d.informers.WaitForCacheSyncWithContext(ctx).AsError(); err != nil {
		return err
	}
	var unsynced []string
	for resource, synced := range d.dynamic.WaitForCacheSync(ctx.Done()) {
		if !synced {
			unsynced = append(unsynced, resource.String())
		}
	}
	if len(unsynced) > 0 {
		return fmt.Errorf("failed to sync %s, which a plugin wants: %w", strings.Join(unsynced, "; "), context.Cause(ctx))
	}
	// Upstream checks every 100 ms. With a context that has ended it checks once.
	expired, cancel := context.WithCancel(ctx)
	cancel()
	return lifecycle.Poll(ctx, func() bool { return sched.WaitForHandlersSync(expired) == nil })
}

// requireResources returns an error if the control plane does not serve the resource of
// an informer, which would never sync. The informers must have been started.
func (d *dependencies) requireResources() error {
	// With a closed channel WaitForCacheSync lists the informers and does not wait.
	closed := make(chan struct{})
	close(closed)
	return served.Require(d.client.Discovery(), "the scheduler", served.OfInformers(scheme.Scheme, d.informers.WaitForCacheSync(closed))...)
}
