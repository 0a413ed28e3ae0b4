// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationv1beta1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"

	"github.com/kubembed/kubembed/internal/apiserver/openapi"
	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/pki"
)

// frontProxyClient is the identity with which the server calls aggregated API servers,
// and the only identity whose headers about users it accepts.
const frontProxyClient = "front-proxy-client"

// aggregatorConfig returns the configuration of the server in front, which also proxies
// to aggregated API servers.
func aggregatorConfig(e *environment, base genericapiserver.Config, stored storageConfig, w webhooks) (_ *aggregatorapiserver.Config, err error) {
	versioner := runtime.NewMultiGroupVersioner(apiregistrationv1.SchemeGroupVersion, schema.GroupKind{Group: apiregistrationv1beta1.GroupName})
	codec := aggregatorscheme.Codecs.LegacyCodec(apiregistrationv1.SchemeGroupVersion, apiregistrationv1beta1.SchemeGroupVersion)
	c, _ := stored.derive(e, base, codec, versioner)
	openapi.UseAggregatorDefinitions(&c)
	c.EgressSelector = e.config.Dialers.aggregatedServers()
	// The aggregator serves the merged OpenAPI document itself.
	c.SkipOpenAPIInstallation = true
	// The aggregator only decodes APIServices. Upstream's filter of traces has had no
	// gate since 1.37 and cannot be left out without a copy of the chain: it creates the
	// attributes of a span and of three metrics that nothing records, 6 µs of CPU and 34
	// allocations, a tenth of a get.
	chain := c.BuildHandlerChainFunc
	c.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return chain(e.limits.FilterGroup(apiregistrationv1.GroupName, api), c)
	}
	if c.MergedResourceConfig, err = runtimeconfig.Aggregator(); err != nil {
		return nil, fmt.Errorf("apiserver: aggregator: %w", err)
	}
	cert, key := e.config.proxyClient.cert, e.config.proxyClient.key
	if cert == "" {
		if cert, key, err = writeKeyPair(e.config.Dir, frontProxyClient, e.config.PKI.FrontProxyClient()); err != nil {
			return nil, err
		}
	}
	return &aggregatorapiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: c, SharedInformerFactory: e.sharedInformers},
		ExtraConfig: aggregatorapiserver.ExtraConfig{
			ProxyClientCertFile:       cert,
			ProxyClientKeyFile:        key,
			ServiceResolver:           w.resolver,
			ProxyTransport:            w.transport,
			RejectForwardingRedirects: true,
		},
	}, nil
}

// writeKeyPair writes a key pair, which upstream takes by file name, into dir.
func writeKeyPair(dir, name string, pair pki.KeyPair) (cert, key string, err error) {
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	err = os.WriteFile(cert, pair.Cert, 0o600)
	if err == nil {
		err = os.WriteFile(key, pair.Key, 0o600)
	}
	if err != nil {
		return "", "", fieldpath.New("apiserver", "Config.Dir", "%w", err)
	}
	return cert, key, nil
}
