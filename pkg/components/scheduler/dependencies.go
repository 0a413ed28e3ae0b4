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

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/served"
)

// userAgent is what audit logs call the scheduler.
const userAgent = "kube-scheduler"

// parts are what upstream's command makes around the scheduler (Setup and Run
// in k8s.io/kubernetes/cmd/kube-scheduler/app), without leader election and the
// HTTP server, which are of no use here.
type parts struct {
	config    *rest.Config
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	// dynamic is for custom resources that plugins want to hear of.
	dynamic dynamicinformer.DynamicSharedInformerFactory
	events  broadcaster
}

// broadcaster is upstream's EventBroadcasterAdapter, which writes to
// events.k8s.io where that is served and to core/v1 where not. Upstream calls
// the name deprecated, and uses it.
type broadcaster interface {
	StartRecordingToSink(stop <-chan struct{})
	NewRecorder(name string) events.EventRecorderLogger
	Shutdown()
}

func newParts(ctx context.Context, config *rest.Config) (*parts, error) {
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
	return &parts{
		config: config,
		client: client,
		// Without upstream's name for the informers, which labels metrics, and which only one
		// scheduler of a process could have.
		informers: upstream.NewInformerFactory(client, 0, nil),
		dynamic:   dynamicinformer.NewFilteredDynamicSharedInformerFactory(dynamicClient, 0, corev1.NamespaceAll, nil),
		events:    events.NewEventBroadcasterAdapterWithContext(ctx, client),
	}, nil
}

func (s *Scheduler) newScheduler(ctx context.Context, p *parts) (*upstream.Scheduler, error) {
	// Upstream writes in it: each run has its own.
	c, err := complete(s.config.Configuration.DeepCopy())
	if err != nil {
		return nil, err
	}
	sched, err := upstream.New(ctx, p.client, p.informers, p.dynamic,
		profile.RecorderFactory(func(name string) events.EventRecorderLogger { return p.events.NewRecorder(name) }),
		upstream.WithComponentConfigVersion(c.APIVersion),
		upstream.WithKubeConfig(p.config),
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

// sync starts the informers and returns when the scheduler has seen all that
// they found.
func (p *parts) sync(ctx context.Context, sched *upstream.Scheduler) error {
	p.informers.StartWithContext(ctx)
	p.dynamic.Start(ctx.Done())
	if err := p.requireResources(); err != nil {
		return err
	}
	if err := p.informers.WaitForCacheSyncWithContext(ctx).AsError(); err != nil {
		return err
	}
	var unsynced []string
	for resource, synced := range p.dynamic.WaitForCacheSync(ctx.Done()) {
		if !synced {
			unsynced = append(unsynced, resource.String())
		}
	}
	if len(unsynced) > 0 {
		return fmt.Errorf("failed to sync %s, which a plugin wants: %w", strings.Join(unsynced, "; "), context.Cause(ctx))
	}
	// Upstream looks every 100 ms. With a context that has ended it looks once.
	now, cancel := context.WithCancel(ctx)
	cancel()
	return lifecycle.Poll(ctx, func() bool { return sched.WaitForHandlersSync(now) == nil })
}

// requireResources returns an error if one of the informers, which have been started, is
// of what the control plane does not serve: it would never be synced.
func (p *parts) requireResources() error {
	// With a closed channel it lists the informers without waiting for them.
	now := make(chan struct{})
	close(now)
	return served.Require(p.client.Discovery(), "the scheduler", served.OfInformers(scheme.Scheme, p.informers.WaitForCacheSync(now))...)
}
