// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/kubelet/client"
	noderest "k8s.io/kubernetes/pkg/registry/core/node/rest"
	podrest "k8s.io/kubernetes/pkg/registry/core/pod/rest"
)

// kubeletResources are the resources whose requests go to kubelets.
var kubeletResources = []string{"nodes/proxy", "pods/attach", "pods/exec", "pods/log", "pods/portforward"}

// Connect makes the storage of the core group use these Kubelets. Resources that are
// switched off are not in storage.
func (k *Kubelets) Connect(storage map[string]rest.Storage) error {
	for resource, store := range storage {
		var connection *client.ConnectionInfoGetter
		switch store := store.(type) {
		case *podrest.LogREST:
			connection = &store.KubeletConn
		case *podrest.ExecREST:
			connection = &store.KubeletConn
		case *podrest.AttachREST:
			connection = &store.KubeletConn
		case *podrest.PortForwardREST:
			connection = &store.KubeletConn
		case *noderest.ProxyREST:
			connection = &store.Connection
			storage[resource] = nodeProxy{store}
		default:
			if slices.Contains(kubeletResources, resource) {
				return fmt.Errorf("the storage of %s is a %T, whose connection to kubelets is unknown", resource, store)
			}
			continue
		}
		*connection = connections{ConnectionInfoGetter: *connection, kubelets: k}
	}
	return nil
}

// nodeProxy is upstream's, but applies Policy to the ports of kubelets: upstream rejects
// loopback addresses even if all nodes are on this machine. For other ports of nodes
// upstream's rule applies.
type nodeProxy struct{ *noderest.ProxyREST }

func (p nodeProxy) Connect(ctx context.Context, id string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	proxyOptions, ok := options.(*core.NodeProxyOptions)
	_, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !ok || !valid {
		return p.ProxyREST.Connect(ctx, id, options, responder)
	}
	info, err := p.Connection.GetConnectionInfo(ctx, types.NodeName(name))
	if err != nil {
		return nil, err
	}
	if port != "" && port != info.Port {
		return p.ProxyREST.Connect(ctx, id, options, responder)
	}
	location := &url.URL{
		Scheme: info.Scheme,
		Host:   net.JoinHostPort(info.Hostname, info.Port),
		Path:   utilnet.JoinPreservingTrailingSlash("", proxyOptions.Path),
	}
	handler := proxy.NewUpgradeAwareHandler(location, info.Transport, true, false, proxy.NewErrorResponder(responder))
	handler.MaxBytesPerSec = capabilities.Get().PerConnectionBandwidthLimitBytesPerSec
	return handler, nil
}
