// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	auditlog "k8s.io/apiserver/pkg/audit"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/tools/cache"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"

	"github.com/kubembed/kubembed/internal/apiserver/audit"
	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/authz"
	"github.com/kubembed/kubembed/internal/apiserver/encryption"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/apiserver/presence"
	"github.com/kubembed/kubembed/internal/apiserver/routes"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/inprocess"
	_ "github.com/kubembed/kubembed/internal/klogbridge" // a hook that fails does not end the process
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Server is an API server. New assembles it, Start serves it, once, and Stop ends it. Its
// other methods are safe for concurrent use.
type Server struct {
	environment
	// serverConfig is shared by the servers of the chain, and complete after New.
	serverConfig *genericapiserver.Config
	aggregator   *aggregatorapiserver.APIAggregator
	extensions   *apiextensionsapiserver.CustomResourceDefinitions
	handler      http.Handler // set when prepared is closed
	prepared     chan struct{}
	transport    *inprocess.Transport
	tokens       authn.Tokens
	admin        authn.AdminCertificate
	users        authn.Users
	disabled     *informers.Disabled
	servers      []*serving.Server // of the listeners
	certificates *serving.Certificates
	mounted      serving.Mounted // requests of Handler
	hostHandlers *serving.HostHandlers
	requests     lifecycle.Group // requests, over the listeners and in this process
	background   lifecycle.Group // our own goroutines

	authorization *authz.Chain
	informerName  *cache.InformerName // in metrics
	presence      *presence.Registry
	authentication
	// encryption is nil without Config.Encryption, and with Config.Transformers.
	encryption *encryption.Transformers

	cancel context.CancelFunc // of ctx

	serving   lifecycle.Teardown // ends requests
	resources lifecycle.Teardown // then releases the resources of requests

	builtinPaths []string
	prepareBegan bool // upstream's chain can be prepared once
	hooksStarted bool
	auditLog     atomic.Pointer[auditlog.Backend] // nil if it does not run
	auditFile    audit.LogFile
	discovered   atomic.Bool
	stopping     atomic.Bool // clients in this process are refused
	stopOnce     sync.Once
	stopErr      error
	failOnce     sync.Once
	failed       chan struct{} // closed when a listener fails
	failure      error
}

// New assembles a server from cfg. The server does not serve before Start, and only the
// goroutines of its watch caches use etcd. If New fails, it leaves nothing behind and
// closes the listeners; if cfg is invalid, New has no effect. The error is ErrVersionSkew
// if a Kubernetes version that this one cannot follow has written the data in etcd.
func New(cfg Config) (_ *Server, err error) {
	cfg = cfg.clone() // the caller may change its own
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults().containListeners()
	s := &Server{prepared: make(chan struct{}), failed: make(chan struct{})}
	s.config, s.drained = cfg, make(chan struct{})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(context.Background()))
		}
	}()
	if err = contained(s.assemble); err != nil {
		return nil, err
	}
	return s, nil
}

// newTransport returns the transport of clients in this process. Their requests and those
// over the listeners have one count.
func (s *Server) newTransport() *inprocess.Transport {
	t := inprocess.NewTransport(http.HandlerFunc(s.serve))
	t.Requests = &s.requests
	t.Adopt = s.config.adopt
	t.Propagate = s.config.propagateTrace()
	t.OnPanic = func(r *http.Request, panicked any, stack []byte) {
		s.config.Logger.Error("a request in this process panicked",
			zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Any("panic", panicked), zap.ByteString("stack", stack))
	}
	return t
}

// contained returns upstream's panics and fatal errors in f as errors.
func contained(f func() error) error {
	_, err := containment.Call("apiserver", func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// openForRequests makes the listeners, which are not started, and the transport for
// clients in this process, whose requests wait until Start has prepared the handler.
func (s *Server) openForRequests() error {
	if err := s.openCertificates(); err != nil {
		return errors.Join(err, s.closeListeners())
	}
	measured := &serving.Measured{Server: s.config.nameInMetrics(), Requests: &s.requests, Certificates: s.certificates}
	withdraw := measured.Publish()
	s.resources.Push("apiserver: metrics", func(context.Context) error { withdraw(); return nil })
	s.hostHandlers = s.config.hostHandlers()
	s.serving.Push("apiserver: drained", func(context.Context) error { close(s.drained); return nil })
	s.serving.Push("apiserver: admission", s.admissions.Wait)
	s.transport = s.newTransport()
	s.serving.Push("apiserver: requests", func(ctx context.Context) error {
		if err := s.transport.Shutdown(ctx); err != nil {
			return s.explainHang(err)
		}
		return nil
	})
	s.serving.Push("apiserver: connections of proxies and to kubelets", func(context.Context) error { s.dialer.Close(); return nil })
	s.serving.Push("apiserver: requests of Handler", func(context.Context) error { s.mounted.Cut(); return nil })
	s.servers = s.listeners()
	for _, server := range s.servers {
		s.serving.Push("apiserver: listener", func(context.Context) error { return server.Close() })
	}
	return nil
}

// Start writes the objects that every cluster has, serves, and returns when the server is
// ready: /readyz succeeds, and a pod can be created. The context bounds the start only;
// without a deadline Start may wait forever. The error names the readiness checks that
// fail. If Start fails, it stops the server, which cannot be started again.
func (s *Server) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			err = errors.Join(err, s.Stop(stopCtx))
		}
	}()
	return contained(func() error { return s.start(ctx) })
}

func (s *Server) start(ctx context.Context) error {
	// prepare and seed each take the CPU time of a core, and do not need each other.
	var fresh bool
	var group errgroup.Group
	together := func(f func() error) {
		group.Go(func() error { return contained(f) })
	}
	together(s.prepare)
	together(func() (err error) {
		if fresh, err = s.seed(ctx); err == nil {
			s.boot.Seeded.Store(true)
			s.boot.Roles.Store(fresh) // otherwise reconcile does it
		}
		return err
	})
	together(func() error {
		if err := s.presence.Publish(ctx); err != nil {
			return fmt.Errorf("apiserver: publish the addresses of the server: %w", err)
		}
		s.boot.Published.Store(true)
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	s.backend.ForgetStores()
	if err := s.run(ctx); err != nil {
		return err
	}
	for _, server := range s.servers {
		server.Start(s.fail)
	}
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	if err := s.waitServiceIPs(ctx); err != nil {
		return err
	}
	if !fresh {
		if err := s.reconcile(ctx); err != nil {
			return err
		}
	}
	if err := s.authorization.Check(ctx); err != nil {
		return err
	}
	s.started.Store(true)
	return nil
}

// run starts informers, controllers and upstream's start hooks.
func (s *Server) run(ctx context.Context) error {
	if !s.prepareBegan { // stopped before Start
		if err := s.prepare(); err != nil {
			return err
		}
	}
	if err := s.startInformers(ctx); err != nil {
		return err
	}
	// Upstream exits the process when a hook returns an error, and a hook that is
	// interrupted returns one. Hooks are never interrupted: their context is s.ctx, and
	// Stop waits for them.
	s.background.Go(s.runServiceCIDR)
	s.background.Go(func() { s.presence.Run(s.ctx) })
	s.background.Go(func() { s.certificates.Follow(s.ctx) })
	s.background.Go(s.watchIssuers)
	s.background.Go(func() { s.authorization.Run(s.ctx) })
	s.hooksStarted = true
	s.aggregator.GenericAPIServer.RunPostStartHooks(s.ctx)
	return nil
}

// prepare installs the health and OpenAPI handlers, and lets requests through to the
// handler.
func (s *Server) prepare() error {
	s.prepareBegan = true
	paths := s.aggregator.GenericAPIServer.Handler.NonGoRestfulMux
	installDebug(paths, s.config) // before upstream lists the paths
	s.hostHandlers.Install(paths)
	prepared, err := s.aggregator.PrepareRun()
	if err != nil {
		return fmt.Errorf("apiserver: prepare: %w", err)
	}
	server := prepared.GenericAPIServer
	routes.ForgetCallers(server)
	if server.AuditBackend != nil {
		if err := server.AuditBackend.Run(s.drained); err != nil {
			return fmt.Errorf("apiserver: audit: %w", err)
		}
		s.auditLog.Store(&server.AuditBackend)
		if a := s.config.Audit; a.keepsBackups() {
			backups := audit.Backups{LogPath: a.Log.Path, Logger: s.config.Logger}
			s.background.Go(func() { backups.Run(s.ctx) })
		}
	}
	s.handler = server.Handler
	close(s.prepared)
	return nil
}

// Failed returns a channel that is closed when a listener fails; Err then returns the
// reason.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// Err returns the reason why Failed is closed, and nil before.
func (s *Server) Err() error {
	select {
	case <-s.failed:
		return s.failure
	default:
		return nil
	}
}

func (s *Server) fail(err error) {
	s.failOnce.Do(func() {
		s.failure = err
		close(s.failed)
	})
}

// serve waits until Start has prepared the handler: some of upstream's plugins request
// OpenAPI as soon as they exist, and would retry only seconds later.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	serving.GrowStack16()
	hosts := s.hostHandlers.Matches(r.URL.Path)
	if hosts && s.hostHandlers.Refuse(w, r) {
		return
	}
	if !hosts && serving.OthersAnswer(r.URL.Path) {
		w = serving.Sandboxed(w, r)
	}
	select {
	case <-s.prepared:
		if !s.discoveryComplete() {
			r = r.WithContext(context.WithValue(r.Context(), discoveryIncomplete{}, true))
		}
		if hosts {
			w, r = s.hostHandlers.Observe(w, r) // no writes, except by requests of their own
		} else {
			defer s.writes.Begin(r)()
		}
		s.handler.ServeHTTP(w, r)
	case <-r.Context().Done():
	case <-s.ctx.Done():
		http.Error(w, "the API server is stopped", http.StatusServiceUnavailable)
	}
}

// discoveryIncomplete marks requests that arrive before all paths are known. If the path
// of such a request is not found, the response is 503: controllers would act on a 404.
type discoveryIncomplete struct{}

// discoveryComplete reports whether all paths are known.
func (s *Server) discoveryComplete() bool {
	if s.discovered.Load() {
		return true
	}
	for _, signal := range s.aggregator.GenericAPIServer.MuxAndDiscoveryCompleteSignals() {
		select {
		case <-signal:
		default:
			return false
		}
	}
	s.discovered.Store(true)
	return true
}
