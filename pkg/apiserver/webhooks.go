// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"

	oteltrace "go.opentelemetry.io/otel/trace"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"

	"github.com/kubembed/kubembed/internal/apiserver/egress"
	webhookbackend "github.com/kubembed/kubembed/internal/apiserver/webhook"
)

// webhooks is how the server reaches webhooks and aggregated API servers.
type webhooks struct {
	transport *http.Transport
	egress    *egressselector.EgressSelector // nil without a dialer of the host's
	resolver  webhook.ServiceResolver
	slices    proxy.EndpointSliceGetter
}

// connectWebhooks makes the connections to webhooks and aggregated API servers.
// Administrators register them, also on this machine.
func (s *Server) connectWebhooks() (w webhooks, err error) {
	if w.slices, err = webhookbackend.EndpointSlices(s.sharedInformers); err != nil {
		return w, err
	}
	if w.resolver, err = webhookbackend.NewServiceResolver(s.sharedInformers.Core().V1().Services().Lister(), w.slices, s.restConfig.Host); err != nil {
		return w, err
	}
	w.transport = controlplaneapiserver.CreateProxyTransport()
	w.egress = s.config.Dialers.webhooks()
	s.resources.Push("apiserver: connections to webhooks", func(context.Context) error { w.transport.CloseIdleConnections(); return nil })
	return w, nil
}

// authentication returns upstream's settings for calls of conversion webhooks.
func (w webhooks) authentication(e *environment, tracers oteltrace.TracerProvider) webhook.AuthenticationInfoResolverWrapper {
	upstream := webhook.NewDefaultAuthenticationInfoResolverWrapper(w.transport, w.egress, e.restConfig, tracers)
	if w.egress == nil {
		return upstream
	}
	return func(next webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return egress.NameDialer(upstream(next))
	}
}
