// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"

	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"

	webhookbackend "github.com/kubembed/kubembed/internal/apiserver/webhook"
)

// webhooks is how the server reaches webhooks and aggregated API servers.
type webhooks struct {
	transport *http.Transport
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
	s.resources.Push("apiserver: connections to webhooks", func(context.Context) error { w.transport.CloseIdleConnections(); return nil })
	return w, nil
}
