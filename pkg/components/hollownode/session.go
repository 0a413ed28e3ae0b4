package hollownode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/kubembed/kubembed/internal/served"
)

const (
	// workers is how many pods and nodes are worked on at once. A write to a
	// durable control plane waits for the disk.
	workers = 16
	// callTimeout bounds a call of the API server. One takes milliseconds.
	callTimeout = 30 * time.Second
	// retryDelay is the pause after a call that failed.
	retryDelay = time.Second
)

// session is a run of the nodes.
type session struct {
	*Nodes
	logger  *zap.Logger
	rest    *rest.Config
	client  kubernetes.Interface
	version string // of the kubelets that are simulated
	boot    string // the boot ID of all nodes

	// queue has the names of pods, and those of nodes, without namespace.
	queue  workqueue.TypedDelayingInterface[types.NamespacedName]
	pods   *pods
	ips    *ips
	nodes  map[string]*node
	server *server

	// missing is how many nodes are not registered yet.
	missing    atomic.Int64
	registered chan struct{}
	fail       context.CancelCauseFunc
}

func newSession(n *Nodes, config *rest.Config, logger *zap.Logger) (*session, error) {
	c := rest.CopyConfig(config)
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c.QPS = -1
	rest.AddUserAgent(c, "hollownode")
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("hollownode: client: %w", err)
	}
	own := n.config
	own.Logger = logger
	s := &session{
		Nodes:      n,
		logger:     logger,
		rest:       c,
		client:     client,
		boot:       string(uuid.NewUUID()),
		ips:        newIPs(),
		nodes:      map[string]*node{},
		registered: make(chan struct{}),
	}
	for i, name := range n.names {
		s.nodes[name] = &node{name: name, number: i}
	}
	s.pods = &pods{
		config:  &own,
		ips:     s.ips,
		ours:    func(name string) bool { return s.nodes[name] != nil },
		enqueue: func(name types.NamespacedName) { s.queue.Add(name) },
		byName:  map[types.NamespacedName]*pod{},
		synced:  make(chan struct{}),
	}
	s.queue = workqueue.NewTypedDelayingQueue[types.NamespacedName]()
	s.missing.Store(int64(len(n.names)))
	return s, nil
}

// run returns when all that it has started has ended.
func (s *session) run(ctx context.Context, ready func()) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	s.fail = fail
	var err error
	if s.server, err = listen(s); err != nil {
		return err
	}
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { s.server.serve(ctx) })
	if err := s.askVersion(ctx); err != nil {
		return ended(ctx)
	}
	if err := s.requireResources(ctx); err != nil {
		fail(failure{err})
		return ended(ctx)
	}
	// The watches put into the queue, so they end first.
	defer s.queue.ShutDown()
	for name := range s.nodes {
		s.queue.Add(types.NamespacedName{Name: name})
	}
	for range workers {
		group.Go(func() { s.work(ctx) })
	}
	group.Go(func() { s.renewLeases(ctx) })
	var watches sync.WaitGroup
	defer watches.Wait()
	watches.Go(func() { s.watch(ctx, "nodes", &corev1.Node{}, nodeStore{s}, fields.Everything()) })
	watches.Go(func() {
		bound := fields.OneTermNotEqualSelector("spec.nodeName", "")
		s.watch(ctx, "pods", &corev1.Pod{}, s.pods, bound)
	})
	for _, done := range []chan struct{}{s.registered, s.pods.synced} {
		select {
		case <-done:
		case <-ctx.Done():
			return ended(ctx)
		}
	}
	s.logger.Info("nodes are ready", zap.Int("nodes", len(s.nodes)), zap.Stringer("address", s.server.address))
	ready()
	<-ctx.Done()
	return ended(ctx)
}

// ended is why a run ends: nil when it was told to.
func ended(ctx context.Context) error {
	var failure failure
	if errors.As(context.Cause(ctx), &failure) {
		return fmt.Errorf("hollownode: %w", failure.error)
	}
	return nil
}

// failure is an end that nobody has asked for.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// askVersion waits for the API server and takes its version for the kubelets'. Its
// error is that ctx has ended.
func (s *session) askVersion(ctx context.Context) error {
	for {
		var info version.Info
		data, err := s.client.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
		if err == nil {
			if err = json.Unmarshal(data, &info); err == nil {
				s.version = info.GitVersion
				return nil
			}
		}
		s.logger.Info("waiting for the API server", zap.Error(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryDelay):
		}
	}
}

// requireResources returns an error if what the nodes cannot do without is not served.
// An API server that does not answer is none: it is tried again.
func (s *session) requireResources(ctx context.Context) error {
	err := served.Require(s.client.Discovery(), "hollownode", "v1/nodes", "v1/pods", "coordination.k8s.io/v1/leases")
	if missing := (*served.MissingError)(nil); errors.As(err, &missing) {
		return err
	}
	if err != nil && ctx.Err() == nil {
		s.logger.Info("the API server does not say what it serves", zap.Error(err))
	}
	return nil
}

func (s *session) watch(ctx context.Context, resource string, kind runtime.Object, store cache.ReflectorStore, selector fields.Selector) {
	lw := cache.NewListWatchFromClient(s.client.CoreV1().RESTClient(), resource, metav1.NamespaceAll, selector)
	cache.NewReflectorWithOptions(lw, kind, store, cache.ReflectorOptions{Name: "hollownode"}).RunWithContext(ctx)
}

// work works on what is in the queue until it is shut down.
func (s *session) work(ctx context.Context) {
	for {
		name, shutdown := s.queue.Get()
		if shutdown {
			return
		}
		if ctx.Err() == nil {
			s.workOn(ctx, name)
		}
		s.queue.Done(name)
	}
}

func (s *session) workOn(ctx context.Context, name types.NamespacedName) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	if name.Namespace == "" {
		err = s.syncNode(ctx, s.nodes[name.Name])
	} else {
		err = s.syncPod(ctx, name)
	}
	// After a conflict, the watch tells the newer object.
	if err == nil || apierrors.IsConflict(err) && name.Namespace != "" {
		return
	}
	if !errors.Is(err, context.Canceled) {
		s.logger.Warn("will be tried again", zap.Stringer("object", name), zap.Error(err))
	}
	s.queue.AddAfter(name, retryDelay)
}

// revive lets a node that was dead go on.
func (s *session) revive(name string) {
	s.nodes[name].forget()
	s.queue.Add(types.NamespacedName{Name: name})
	for _, pod := range s.pods.on(name) {
		s.queue.Add(pod)
	}
}
