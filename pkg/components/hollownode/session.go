// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/kubembed/kubembed/internal/apiserver/loopback"
	"github.com/kubembed/kubembed/internal/served"
)

const (
	// workers is the number of pods and nodes that are synced at once. A write to a
	// durable control plane waits for the disk.
	workers = 16
	// callTimeout bounds a request to the API server, which takes milliseconds.
	callTimeout = 30 * time.Second
	// retryDelay is the pause after a failed request.
	retryDelay = time.Second
)

// session is one Run of the nodes.
type session struct {
	*Nodes
	logger  *zap.Logger
	rest    *rest.Config
	client  kubernetes.Interface
	version string // of the kubelets that are simulated
	bootID  string // the boot ID of all nodes

	// queue has the names of pods, and of nodes, which have no namespace.
	queue  workqueue.TypedDelayingInterface[types.NamespacedName]
	pods   *pods
	ips    *ipAllocator
	nodes  map[string]*node
	server *server

	// unregistered is the number of nodes that are not registered yet.
	unregistered atomic.Int64
	registered   chan struct{}
	fail         context.CancelCauseFunc
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
		bootID:     string(uuid.NewUUID()),
		ips:        newIPAllocator(),
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
		share:   loopback.Share(c),
		byName:  map[types.NamespacedName]*pod{},
		synced:  make(chan struct{}),
	}
	s.queue = workqueue.NewTypedDelayingQueue[types.NamespacedName]()
	s.unregistered.Store(int64(len(n.names)))
	return s, nil
}

// run runs the nodes until ctx ends, and waits for its goroutines.
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
	if err := s.waitForVersion(ctx); err != nil {
		return runError(ctx)
	}
	if err := s.requireResources(ctx); err != nil {
		fail(failure{err})
		return runError(ctx)
	}
	// The watches add to the queue, so they end first.
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
			return runError(ctx)
		}
	}
	s.logger.Info("nodes are ready", zap.Int("nodes", len(s.nodes)), zap.Stringer("address", s.server.address))
	ready()
	<-ctx.Done()
	return runError(ctx)
}

// runError returns the failure that has ended ctx, or nil after a stop.
func runError(ctx context.Context) error {
	if failure, ok := errors.AsType[failure](context.Cause(ctx)); ok {
		return fmt.Errorf("hollownode: %w", failure.error)
	}
	return nil
}

// failure is an error that ends a run.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// waitForVersion waits for the API server, and uses its version for the kubelets. It only
// fails when ctx ends.
func (s *session) waitForVersion(ctx context.Context) error {
	return wait.PollUntilContextCancel(ctx, retryDelay, true, func(ctx context.Context) (bool, error) {
		var info version.Info
		data, err := s.client.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
		if err == nil {
			err = json.Unmarshal(data, &info)
		}
		if err != nil {
			s.logger.Info("waiting for the API server", zap.Error(err))
			return false, nil
		}
		s.version = info.GitVersion
		return true, nil
	})
}

// requireResources returns an error if a resource that the nodes need is not served. It
// ignores an API server that does not answer: later requests are retried.
func (s *session) requireResources(ctx context.Context) error {
	err := served.Require(s.client.Discovery(), "hollownode", "v1/nodes", "v1/pods", "coordination.k8s.io/v1/leases")
	if missing := (*served.MissingError)(nil); errors.As(err, &missing) {
		return err
	}
	if err != nil && ctx.Err() == nil {
		s.logger.Info("discovery of the served resources failed", zap.Error(err))
	}
	return nil
}

func (s *session) watch(ctx context.Context, resource string, kind runtime.Object, store cache.ReflectorStore, selector fields.Selector) {
	lw := cache.NewListWatchFromClient(s.client.CoreV1().RESTClient(), resource, metav1.NamespaceAll, selector)
	cache.NewReflectorWithOptions(lw, kind, store, cache.ReflectorOptions{Name: "hollownode"}).RunWithContext(ctx)
}

// work processes the queue until it is shut down.
func (s *session) work(ctx context.Context) {
	for {
		name, shutdown := s.queue.Get()
		if shutdown {
			return
		}
		if ctx.Err() == nil {
			s.sync(ctx, name)
		}
		s.queue.Done(name)
	}
}

// sync syncs a pod or a node, and queues it again after an error.
func (s *session) sync(ctx context.Context, name types.NamespacedName) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	if name.Namespace == "" {
		err = s.syncNode(ctx, s.nodes[name.Name])
	} else {
		err = s.syncPod(ctx, name)
	}
	// After a conflict, the watch delivers the newer object.
	if err == nil || apierrors.IsConflict(err) && name.Namespace != "" {
		return
	}
	if !errors.Is(err, context.Canceled) {
		s.logger.Warn("sync failed, will retry", zap.Stringer("object", name), zap.Error(err))
	}
	s.queue.AddAfter(name, retryDelay)
}

// revive restarts a killed node.
func (s *session) revive(name string) {
	s.nodes[name].reset()
	s.queue.Add(types.NamespacedName{Name: name})
	for _, pod := range s.pods.onNode(name) {
		s.queue.Add(pod)
	}
}
