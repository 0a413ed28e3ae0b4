// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package election elects, by Leases, the one of the control planes on an etcd that does
// what only one may do at a time.
package election

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The defaults of kube-controller-manager and kube-scheduler
// (k8s.io/component-base/config/v1alpha1). Another server replaces a killed one when its
// Lease has not been renewed for leaseDuration. A server that cannot renew its Lease for
// renewDeadline stops its work.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second

	// releaseTimeout bounds the release of a Lease when a server stops. If etcd is
	// unavailable or has lost its majority, the Lease expires instead.
	releaseTimeout = time.Second
)

// boundLock cancels the requests of a lock with a context. Upstream allows a release to
// take renewDeadline, which is too long for a stop.
type boundLock struct {
	resourcelock.Interface
	requests context.Context
}

func (l *boundLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	ctx, cancel := l.bind(ctx)
	defer cancel()
	return l.Interface.Get(ctx)
}

func (l *boundLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	ctx, cancel := l.bind(ctx)
	defer cancel()
	return l.Interface.Update(ctx, record)
}

func (l *boundLock) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.requests, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// Elections are the elections that one server takes part in. A nil *Elections is that of
// a server that shares its etcd with no other.
type Elections struct {
	client    kubernetes.Interface
	identity  string
	logger    *zap.Logger
	leases    informers.SharedInformerFactory
	ctx       context.Context // ends the candidacies of Hold
	cancel    context.CancelFunc
	holding   sync.WaitGroup     // the candidacies of Hold
	stopWatch context.CancelFunc // of Leases

	mu    sync.Mutex
	freed map[string]chan struct{} // by the name of the Lease
	held  map[string]bool
}

// New starts to watch the Leases in kube-system. id identifies the server.
func New(config *rest.Config, id string, logger *zap.Logger) (*Elections, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = "leader-election"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	watching, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	// As in upstream: a request that hangs leaves time for another one.
	config.Timeout = renewDeadline / 2
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	watch, stopWatch := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	e := &Elections{
		client:    client,
		identity:  id + "_" + string(uuid.NewUUID()),
		logger:    logger,
		leases:    informers.NewSharedInformerFactoryWithOptions(watching, 0, informers.WithNamespace(metav1.NamespaceSystem)),
		ctx:       ctx,
		cancel:    cancel,
		stopWatch: stopWatch,
		freed:     map[string]chan struct{}{},
		held:      map[string]bool{},
	}
	_, err = e.leases.Coordination().V1().Leases().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, object any) {
			if lease, ok := object.(*coordinationv1.Lease); ok && (lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "") {
				e.free(lease.Name)
			}
		},
		DeleteFunc: func(object any) {
			if lease, ok := object.(*coordinationv1.Lease); ok {
				e.free(lease.Name)
			}
		},
	})
	if err != nil {
		cancel()
		stopWatch()
		return nil, fmt.Errorf("leader election: %w", err)
	}
	e.leases.StartWithContext(watch)
	return e, nil
}

// Stop releases the Leases of Hold and stops the watch. It may be called on nil.
func (e *Elections) Stop() {
	if e == nil {
		return
	}
	e.cancel()
	e.holding.Wait()
	e.stopWatch()
	e.leases.Shutdown()
}

// Hold takes part in the election for the Lease name until Stop. Holds reports the
// result.
func (e *Elections) Hold(name string) {
	set := func(held bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.held[name] = held
	}
	e.holding.Go(func() {
		e.Lead(e.ctx, name, func() {}, func(ctx context.Context) {
			set(true)
			<-ctx.Done()
			set(false)
		})
	})
}

// Holds reports whether this server holds the Lease that Hold was called with. A nil
// *Elections holds every Lease.
func (e *Elections) Holds(name string) bool {
	if e == nil {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.held[name]
}

// free notifies the candidate for a Lease that nobody holds it.
func (e *Elections) free(name string) {
	select {
	case e.freedOf(name) <- struct{}{}:
	default:
	}
}

func (e *Elections) freedOf(name string) chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.freed[name] == nil {
		e.freed[name] = make(chan struct{}, 1)
	}
	return e.freed[name]
}

// Lead calls run each time this server acquires the Lease name, until ctx ends. One
// server holds a Lease at a time. The context of run ends when ctx ends or the Lease is
// lost; run must return then. Lead calls standby when another server holds the Lease.
func (e *Elections) Lead(ctx context.Context, name string, standby func(), run func(context.Context)) {
	freed := e.freedOf(name)
	for ctx.Err() == nil {
		if err := e.campaign(ctx, name, freed, standby, run); err != nil {
			e.logger.Error("leader election failed", zap.String("lease", name), zap.Error(err))
			return
		}
	}
}

// campaign is one candidacy. It returns when the Lease is lost, or when another server
// has released it: the next candidacy then acquires it at once, where upstream retries
// only after seconds.
func (e *Elections) campaign(ctx context.Context, name string, freed <-chan struct{}, standby func(), run func(context.Context)) error {
	logger := e.logger.With(zap.String("lease", name))
	elected := make(chan context.Context, 1)
	requests, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: name,
		Lock: &boundLock{&resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: name},
			Client:     e.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: e.identity},
		}, requests},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { elected <- ctx },
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != e.identity && identity != "" {
					logger.Debug("another server was elected", zap.String("holder", identity))
					standby()
				}
			},
		},
	})
	if err != nil {
		return err
	}
	// ctx does not end it: the Lease is held until run has returned.
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		elector.Run(holding)
	}()
	defer func() {
		release()
		defer time.AfterFunc(releaseTimeout, giveUp).Stop()
		<-ended
	}()
	select {
	case <-ctx.Done():
	case <-freed:
	case leading := <-elected:
		logger.Debug("elected")
		e.serve(ctx, leading, logger, run)
	}
	return nil
}

// serve calls run with a context that ends with ctx and leading. It returns when that has
// ended and run has returned.
func (e *Elections) serve(ctx, leading context.Context, logger *zap.Logger, run func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leading, cancel)()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		run(ctx)
	}()
	// A run that returns early has failed, and the control plane stops.
	<-ctx.Done()
	if leading.Err() != nil {
		logger.Warn("lost the election: the Lease could not be renewed")
	}
	expired := time.NewTimer(leaseDuration - renewDeadline)
	defer expired.Stop()
	select {
	case <-returned:
		return
	case <-expired.C:
		logger.Error("lost the election, but still running: another server may run the same")
	}
	<-returned
}

// Servers returns the addresses of all serving control planes, without loopback
// addresses. They are the endpoints of the kubernetes Service.
func (e *Elections) Servers(ctx context.Context) (addrs []netip.Addr, err error) {
	slices, err := e.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx,
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"})
	if err != nil {
		return nil, err
	}
	for i := range slices.Items {
		for _, endpoint := range slices.Items[i].Endpoints {
			for _, address := range endpoint.Addresses {
				if addr, err := netip.ParseAddr(address); err == nil {
					addrs = append(addrs, addr.Unmap())
				}
			}
		}
	}
	return addrs, nil
}
