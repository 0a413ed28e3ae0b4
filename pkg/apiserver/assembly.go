// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/admission"
	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/convergence"
	"github.com/kubembed/kubembed/internal/apiserver/coordination"
	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/apiserver/egress"
	"github.com/kubembed/kubembed/internal/apiserver/health"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/apiserver/limits"
	"github.com/kubembed/kubembed/internal/apiserver/openapi"
	"github.com/kubembed/kubembed/internal/apiserver/servicecidr"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/apiserver/tracing"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/storage"
)

// environment is what the steps of the assembly have in common. None of them changes it.
type environment struct {
	*state
	config Config
	// ctx ends when the server stops: informers, controllers and all requests end with
	// it.
	ctx context.Context
	// drained is closed later, when no request is in flight: plugins that requests wait
	// for must not end before the requests.
	drained chan struct{}
	backend *storage.Backend
	// The server is its own client.
	client          *kubernetes.Clientset
	restConfig      *rest.Config
	sharedInformers clientgoinformers.SharedInformerFactory
	issuerDialer    egressselector.Lookup // of JWT issuers
}

// state is what requests, the start and the stop change.
type state struct {
	boot       health.Boot
	started    atomic.Bool     // Start has succeeded, and Stop has not begun
	writes     serving.Writes  // mutating requests in flight
	admissions admission.Calls // calls of the admission chain
	dialer     *egress.Dialer  // to kubelets, and to endpoints that users may proxy to
	limits     *limits.Limits
	pods       *informers.SharedPods
	services   servicecidr.Creator // the storage of Services; nil if they are switched off

	uses     crd.FirstUses // of custom resources
	storages crd.Storages
	policies convergence.Policies
	// acknowledged are the writes that authorization and admission must have applied.
	acknowledged *convergence.Writes
}

func newState(ctx context.Context, cfg Config) *state {
	return &state{
		dialer:       egress.NewDialer(ctx, cfg.Logger, utilnet.DialFunc(cfg.Dialers.Nodes)),
		limits:       limits.New(cfg.requestLimits()),
		pods:         informers.NewSharedPods(ctx),
		acknowledged: convergence.NewWrites(),
	}
}

// assemble makes the parts of the server. It is upstream's BuildGenericConfig without its
// flags and files, and CreateServerChain: each step is about one part of Config.
func (s *Server) assemble() error {
	if err := s.connect(); err != nil {
		return err
	}
	e := &s.environment
	c, err := newServerConfig(e)
	if err != nil {
		return err
	}
	s.serverConfig = c
	if s.presence, err = newPresence(e, c.APIServerID); err != nil {
		return err
	}
	if err := configureResources(e, c); err != nil {
		return err
	}
	if s.encryption, err = configureEncryption(e, c); err != nil {
		return err
	}
	webhooks, err := s.connectWebhooks()
	if err != nil {
		return err
	}
	if s.authentication, err = newAuthentication(e, c.APIServerID, &s.background); err != nil {
		return err
	}
	configureFlagz(e, c, &s.authentication)
	// The host's plugins can fail. All steps after this one, and after that of the audit
	// log, start goroutines of upstream that end only in a server that runs.
	authorizer := &lateAuthorizer{}
	c.Authorization.Authorizer = authorizer
	if err := configureAdmission(e, c, webhooks); err != nil {
		return err
	}
	if err := configureAudit(e, c, &s.auditFile); err != nil {
		return err
	}
	configureFlowControl(e, c)
	c.OpenAPIConfig, c.OpenAPIV3Config = openapi.Configs()
	if err := configureServing(e, c); err != nil {
		return err
	}
	stored, err := configureStorage(e, c, s.encryption)
	if err != nil {
		return err
	}
	if err := configureAuthentication(e, c, &s.authentication); err != nil {
		return err
	}
	s.configureTokens(c)
	if err := s.configureAuthorization(c); err != nil {
		return err
	}
	authorizer.Authorizer = c.Authorization.Authorizer
	e.config.answerFailures(c)
	builtin, err := builtinConfig(e, c, stored, s.presence, webhooks, &s.authentication)
	if err != nil {
		return err
	}
	if err := s.chain(builtin, stored, webhooks); err != nil {
		return err
	}
	s.resources.Push("apiserver: controllers", s.background.Wait)
	return nil
}

// connect makes the environment: it opens the server for requests, and connects it to
// etcd and to itself.
func (s *Server) connect() (err error) {
	cfg := s.config
	if s.tokens, err = authn.NewTokens(); err != nil {
		return err
	}
	host := egress.NewHost(cfg.Logger)
	s.resources.Push("apiserver: connections of the host's dialers", func(context.Context) error { host.Close(); return nil })
	cfg.Dialers = cfg.Dialers.contained(host)
	cfg.TracerProvider = tracing.Contain(cfg.TracerProvider)
	s.config.Dialers, s.config.TracerProvider = cfg.Dialers, cfg.TracerProvider
	s.issuerDialer = cfg.Dialers.issuers(host)
	s.state = newState(s.ctx, cfg)
	if err = s.openForRequests(); err != nil {
		return err
	}
	if s.disabled, err = informers.NewDisabled(cfg.RuntimeConfig, servicecidr.Object(cfg.serviceRanges())); err != nil {
		return fieldpath.New("apiserver", "Config.RuntimeConfig", "%w", err)
	}
	dial := hostcall.Net{Field: "Config.Dial", Logger: cfg.Logger}.Dial(cfg.Dial)
	s.backend = storage.NewBackend(cfg.Client, dial, cfg.Prefix, cfg.Limits.storage())
	s.resources.Push("apiserver: connections to etcd", func(context.Context) error { s.backend.Close(); return nil })
	// After the controllers, whose requests are in it.
	s.resources.Push("apiserver: audit log", func(context.Context) error {
		if backend := s.auditLog.Load(); backend != nil {
			(*backend).Shutdown()
		}
		return s.auditFile.Close()
	})
	s.backend.Observe(s.acknowledged.Observer)
	if err = overrideEtcd(s.ctx, s.backend, cfg.EtcdOverrides); err != nil {
		return err
	}
	s.backend.Trace(cfg.TracerProvider)
	if err = checkRequestSize(s.ctx, s.backend, cfg.Limits); err != nil {
		return err
	}
	if err = coordination.ClaimVersion(s.ctx, cfg.Client, s.backend.Keyspace(), KubernetesVersion, cfg.Shared); err != nil {
		return err
	}
	release := convergence.ShortenPolicyInterval()
	s.resources.Push("apiserver: interval of policies", func(context.Context) error { release(); return nil })
	s.informerName = informers.NewName()
	s.resources.Push("apiserver: name of the informers", func(context.Context) error { s.informerName.Release(); return nil })
	s.restConfig = s.loopbackConfig()
	if s.client, err = kubernetes.NewForConfig(s.restConfig); err != nil {
		return fmt.Errorf("apiserver: loopback client: %w", err)
	}
	s.sharedInformers = newInformers(s.client, s.pods, s.informerName)
	informers.TrackHandlers(s.sharedInformers)
	return nil
}

// informerResync is kube-apiserver's.
const informerResync = 10 * time.Minute

// newInformers returns informers for the server's own use, not started.
func newInformers(client kubernetes.Interface, pods *informers.SharedPods, name *cache.InformerName) clientgoinformers.SharedInformerFactory {
	return clientgoinformers.NewSharedInformerFactoryWithOptions(client, informerResync,
		clientgoinformers.WithTransform(pods.Transform), clientgoinformers.WithInformerName(name))
}
