// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/tls"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericfeatures "k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"

	"github.com/kubembed/kubembed/internal/apiserver/coordination"
	"github.com/kubembed/kubembed/internal/apiserver/health"
	"github.com/kubembed/kubembed/internal/apiserver/limits"
)

// newServerConfig returns the configuration that the servers of the chain share, without
// the parts that the configure functions set.
func newServerConfig(e *environment) (_ *genericapiserver.Config, err error) {
	cfg := e.config
	c := genericapiserver.NewConfig(codecs())
	if cfg.Shared {
		if c.APIServerID, err = coordination.ServerID(cfg.AdvertiseAddress, cfg.Listener); err != nil {
			return nil, err
		}
	}
	c.EffectiveVersion = effectiveVersion{compatibility.DefaultComponentGlobalsRegistry.EffectiveVersionFor(basecompatibility.DefaultKubeComponent)}
	c.FeatureGate = utilfeature.DefaultFeatureGate
	c.LoopbackClientConfig = e.restConfig
	c.MaxRequestsInFlight = cfg.MaxRequestsInFlight
	c.MaxMutatingRequestsInFlight = cfg.MaxMutatingRequestsInFlight
	c.RequestTimeout = cfg.RequestTimeout
	c.MaxRequestBodyBytes = cfg.Limits.maxBody()
	if cfg.Limits.MinRequestTimeout > 0 {
		c.MinRequestTimeout = int(cfg.Limits.MinRequestTimeout / time.Second)
	}
	c.JSONPatchMaxCopyBytes = limits.JSONPatchCopyBytes
	c.PublicAddress = cfg.AdvertiseAddress
	c.ExternalAddress = cfg.Network.ExternalHost
	c.EnableProfiling = false // see installDebug
	configureTracing(e, c)
	c.HealthzChecks, c.LivezChecks, c.ReadyzChecks = nil, nil, nil
	c.AddHealthChecks(healthz.PingHealthz, health.NewLogCheck(cfg.Logger))
	certificate := health.ServingCertificate(func() (tls.Certificate, error) { return cfg.PKI.Serving().TLS() })
	c.AddHealthzChecks(certificate)
	c.AddLivezChecks(certificate)
	c.DisabledPostStartHooks.Insert(replacedHooks...)
	c.LongRunningFunc = longRunning()
	c.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	return c, nil
}

// longRunning returns upstream's check for requests that the timeout does not bound. The
// verb of a request for no resource is its HTTP method, which the client chooses.
func longRunning() request.LongRunningRequestCheck {
	verbs := sets.NewString("watch", "proxy")
	subresources := sets.NewString("attach", "exec", "proxy", "log", "portforward")
	forResources := filters.BasicLongRunningRequestCheck(verbs, subresources)
	forOthers := filters.BasicLongRunningRequestCheck(nil, nil)
	return func(r *http.Request, info *request.RequestInfo) bool {
		if info.IsResourceRequest {
			return forResources(r, info)
		}
		return forOthers(r, info)
	}
}

// replacedHooks are upstream's start hooks whose work the server does before it serves
// (package bootstrap). The hooks wait a second before their first try, and exit the
// process when they fail for 30 seconds.
var replacedHooks = []string{
	rbacrest.PostStartHookName,
	schedulingrest.PostStartHookName,
	// Servers do not forward requests to each other.
	health.PeersHook,
}

// codecs returns the codecs of the built-in APIs, with CBOR if its feature gate is on.
func codecs() serializer.CodecFactory {
	if utilfeature.DefaultFeatureGate.Enabled(genericfeatures.CBORServingAndStorage) {
		return serializer.NewCodecFactory(legacyscheme.Scheme, serializer.WithSerializer(cbor.NewSerializerInfo))
	}
	return legacyscheme.Codecs
}
