package controlplane

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

// As kube-controller-manager and kube-scheduler have them by default
// (k8s.io/component-base/config/v1alpha1): a server that is killed is replaced when
// its Lease has not been renewed for leaseDuration, and one that cannot renew it for
// renewDeadline stops to work.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second

	// releaseTimeout is how long the end of a server takes to give up a Lease. Where
	// etcd is away, or has lost too many members, the Lease expires instead.
	releaseTimeout = time.Second
)

// boundLock ends the requests of a lock with a context. Upstream gives a release
// renewDeadline, for which no stop should wait.
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

// elections decide which of the servers that share an etcd does what only one may.
type elections struct {
	client   kubernetes.Interface
	identity string
	logger   *zap.Logger
	leases   informers.SharedInformerFactory
	// ctx is of those that hold a Lease for something that asks for it.
	ctx     context.Context
	cancel  context.CancelFunc
	holding sync.WaitGroup
	end     context.CancelFunc // ends the watch

	mu    sync.Mutex
	freed map[string]chan struct{} // by the name of the Lease
	held  map[string]bool
}

// newElections begins to watch the Leases. id is the server's.
func newElections(config *rest.Config, id string, logger *zap.Logger) (*elections, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = "leader-election"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	watching, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	// As upstream: a request that hangs leaves time for another.
	config.Timeout = renewDeadline / 2
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	watch, end := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	e := &elections{
		client:   client,
		identity: id + "_" + string(uuid.NewUUID()),
		logger:   logger,
		leases:   informers.NewSharedInformerFactoryWithOptions(watching, 0, informers.WithNamespace(metav1.NamespaceSystem)),
		ctx:      ctx,
		cancel:   cancel,
		end:      end,
		freed:    map[string]chan struct{}{},
		held:     map[string]bool{},
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
		end()
		return nil, fmt.Errorf("leader election: %w", err)
	}
	e.leases.StartWithContext(watch)
	return e, nil
}

// stop gives up what is held, and ends the watch. It may be called on nil.
func (e *elections) stop() {
	if e == nil {
		return
	}
	e.cancel()
	e.holding.Wait()
	e.end()
	e.leases.Shutdown()
}

// hold takes part in the election for the Lease called name until stop. holds tells
// the result.
func (e *elections) hold(name string) {
	set := func(held bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.held[name] = held
	}
	e.holding.Go(func() {
		e.lead(e.ctx, name, func() {}, func(ctx context.Context) {
			set(true)
			<-ctx.Done()
			set(false)
		})
	})
}

// holds tells whether this server is elected for what hold was called with. Without
// elections it always is.
func (e *elections) holds(name string) bool {
	if e == nil {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.held[name]
}

// free tells who waits for a Lease that nobody has it.
func (e *elections) free(name string) {
	select {
	case e.freedOf(name) <- struct{}{}:
	default:
	}
}

func (e *elections) freedOf(name string) chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.freed[name] == nil {
		e.freed[name] = make(chan struct{}, 1)
	}
	return e.freed[name]
}

// lead calls run whenever this server holds the Lease called name, which is of one
// server at a time, until ctx ends. The context of run ends when ctx does, or when
// the Lease is lost; then run must return. It may be called any number of times.
// standby is called when another server has the Lease.
func (e *elections) lead(ctx context.Context, name string, standby func(), run func(context.Context)) {
	freed := e.freedOf(name)
	for ctx.Err() == nil {
		if err := e.term(ctx, name, freed, standby, run); err != nil {
			e.logger.Error("no leader election", zap.String("lease", name), zap.Error(err))
			return
		}
	}
}

// term is one candidacy. It returns, to begin another, when the Lease was lost, or
// another server has given it up: upstream would look only seconds later.
func (e *elections) term(ctx context.Context, name string, freed <-chan struct{}, standby func(), run func(context.Context)) error {
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
					logger.Debug("another server is elected", zap.String("holder", identity))
					standby()
				}
			},
		},
	})
	if err != nil {
		return err
	}
	// Not ended by ctx: the Lease is held until run has returned.
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

// serve calls run until ctx or leading has ended, and returns when run has, too.
func (e *elections) serve(ctx, leading context.Context, logger *zap.Logger, run func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leading, cancel)()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		run(ctx)
	}()
	// One that returns before it should has failed, and the control plane ends.
	<-ctx.Done()
	if leading.Err() != nil {
		logger.Warn("not elected any more: the Lease could not be renewed")
	}
	late := time.NewTimer(leaseDuration - renewDeadline)
	defer late.Stop()
	select {
	case <-returned:
		return
	case <-late.C:
		logger.Error("not elected any more, but what is to run in one server at a time still runs in this one")
	}
	<-returned
}

// servers are the addresses of all control planes that serve, as far as they are not
// loopback: the endpoints of the kubernetes Service.
func (e *elections) servers(ctx context.Context) (addrs []netip.Addr, err error) {
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
