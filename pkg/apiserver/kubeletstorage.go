package apiserver

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
	genericregistry "k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/capabilities"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/kubelet/client"
	noderest "k8s.io/kubernetes/pkg/registry/core/node/rest"
	podrest "k8s.io/kubernetes/pkg/registry/core/pod/rest"

	"github.com/kubembed/kubembed/internal/apiserver/informers"
)

// coreProvider is upstream's storage of the core group, with our way to kubelets, and
// pods that informers share.
type coreProvider struct {
	controlplaneapiserver.RESTStorageProvider
	genericapiserver.PostStartHookProvider
	kubelets *kubelets
	pods     *informers.SharedPods
	services *serviceCreator // set when the storage is made
}

func (p coreProvider) NewRESTStorage(resources serverstorage.APIResourceConfigSource, options genericregistry.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error) {
	info, err := p.RESTStorageProvider.NewRESTStorage(resources, options)
	if err != nil {
		return info, err
	}
	v1 := info.VersionedResourcesStorageMap["v1"]
	*p.services, _ = v1["services"].(serviceCreator)
	if pods, ok := v1["pods"]; ok { // unless they are switched off
		if err := p.pods.UseStorage(pods); err != nil {
			return info, err
		}
	}
	return info, p.kubelets.connect(v1)
}

// kubeletResources are those that are answered by kubelets.
var kubeletResources = []string{"nodes/proxy", "pods/attach", "pods/exec", "pods/log", "pods/portforward"}

// connect makes storage reach kubelets our way. Resources that are switched off
// are not in storage.
func (k *kubelets) connect(storage map[string]rest.Storage) error {
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
				return fmt.Errorf("the storage of %s is a %T, which has no way to kubelets that is known here", resource, store)
			}
			continue
		}
		*connection = kubeletConnections{ConnectionInfoGetter: *connection, kubelets: k}
	}
	return nil
}

// nodeProxy is upstream's, but lets kubelets be wherever their nodes may have
// them: upstream's refuses loopback addresses also where all nodes are on this
// machine. To other ports of nodes upstream's rule holds.
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
