// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// config returns the configuration of the flags, without the fields that hold open files
// and connections.
func (f *completed) config() (c apiserver.Config, err error) {
	generic := f.GenericServerRunOptions
	c = apiserver.Config{
		AdvertiseAddress:            f.advertised,
		ServiceCIDR:                 f.serviceRanges[0],
		RuntimeConfig:               f.runtimeConfig,
		MaxRequestsInFlight:         generic.MaxRequestsInFlight,
		MaxMutatingRequestsInFlight: generic.MaxMutatingRequestsInFlight,
		RequestTimeout:              generic.RequestTimeout,
		EventTTL:                    f.EventTTL,
		Prefix:                      path.Join("/", f.Etcd.StorageConfig.Prefix), // as upstream
		Profiling:                   f.Features.EnableProfiling,
		Controllers:                 f.coreControllers,
		Admission:                   apiserver.Admission{ConfigurationFile: f.Admission.GenericAdmission.ConfigFile},
		ServiceAccounts:             f.serviceAccounts(),
		Serving:                     f.serving(),
		Network:                     f.network(),
		Audit:                       f.audit(),
	}
	access.SetLenient(&c)
	c.EnableAdmissionPlugins, c.DisableAdmissionPlugins = f.admission()
	for _, set := range []func(*apiserver.Config) error{f.authenticate, f.authorize, f.limit, f.dial} {
		if err := set(&c); err != nil {
			return c, err
		}
	}
	if f.ProxyClientCertFile != "" || f.ProxyClientKeyFile != "" {
		if _, err := tls.LoadX509KeyPair(f.ProxyClientCertFile, f.ProxyClientKeyFile); err != nil {
			return c, fmt.Errorf("--proxy-client-cert-file and --proxy-client-key-file: %w", err)
		}
	}
	if c.Audit.Log.Path != "" && f.Audit.LogOptions.Path == auditStdout {
		access.SetAuditStdout(&c)
	}
	return c, errors.Join(inFlags(access.ValidateOptional(c).ToAggregate()), inFlags(f.etcd().Validate()))
}

// etcd returns the connection of the flags.
func (f *flags) etcd() etcd.ExternalConfig {
	transport := f.Etcd.StorageConfig.Transport
	return etcd.ExternalConfig{Endpoints: transport.ServerList, CA: transport.TrustedCAFile, Cert: transport.CertFile, Key: transport.KeyFile}
}

// admission returns kube-apiserver's default plugins as changes of package apiserver's:
// without NodeRestriction, and with ServiceAccount and TaintNodesByCondition.
func (f *completed) admission() (enable, disable []string) {
	o := f.Admission
	if o.PluginNames != nil { // --admission-control
		return o.PluginNames, sets.List(sets.New(o.GenericAdmission.RecommendedPluginOrder...).Delete(o.PluginNames...))
	}
	enable, disable = slices.Clone(o.GenericAdmission.EnablePlugins), slices.Clone(o.GenericAdmission.DisablePlugins)
	for _, plugin := range []string{"ServiceAccount", "TaintNodesByCondition"} {
		if !slices.Contains(disable, plugin) && !slices.Contains(enable, plugin) {
			enable = append(enable, plugin)
		}
	}
	if plugin := "NodeRestriction"; !slices.Contains(disable, plugin) && !slices.Contains(enable, plugin) {
		disable = append(disable, plugin)
	}
	return enable, disable
}

func (f *completed) serving() apiserver.Serving {
	o, generic := f.SecureServing, f.GenericServerRunOptions
	s := apiserver.Serving{
		CertFile:                     o.ServerCert.CertKey.CertFile,
		KeyFile:                      o.ServerCert.CertKey.KeyFile,
		MinTLSVersion:                o.MinTLSVersion,
		CipherSuites:                 o.CipherSuites,
		DisableHTTP2:                 o.DisableHTTP2Serving,
		HTTP2MaxStreamsPerConnection: o.HTTP2MaxStreamsPerConnection,
		GoawayChance:                 generic.GoawayChance,
		HSTSDirectives:               generic.HSTSDirectives,
		CORSAllowedOrigins:           generic.CorsAllowedOriginList,
	}
	for _, id := range o.CurvePreferences {
		s.CurvePreferences = append(s.CurvePreferences, tls.CurveID(id))
	}
	for _, named := range o.SNICertKeys {
		s.SNICertificates = append(s.SNICertificates, apiserver.SNICertificate{CertFile: named.CertFile, KeyFile: named.KeyFile, Names: named.Names})
	}
	return s
}

func (f *completed) network() apiserver.Network {
	n := apiserver.Network{
		ServiceNodePortRange: f.kube.serviceNodePortRange.String(),
		DisableEndpoints:     f.kube.endpointReconcilerType == string(reconcilers.NoneEndpointReconcilerType),
	}
	if f.given("external-hostname") {
		n.ExternalHost = f.GenericServerRunOptions.ExternalHost
	}
	if len(f.serviceRanges) > 1 {
		n.SecondaryServiceCIDR = f.serviceRanges[1].String()
	}
	return n
}

// limit sets the limits of requests and caches.
func (f *completed) limit(c *apiserver.Config) error {
	sizes, err := genericoptions.ParseWatchCacheSizes(f.Etcd.WatchCacheSizes)
	if err != nil {
		return fmt.Errorf("--watch-cache-sizes: %w", err)
	}
	c.Limits = apiserver.Limits{
		DisablePriorityAndFairness: !f.Features.EnablePriorityAndFairness,
		MinRequestTimeout:          time.Duration(f.GenericServerRunOptions.MinRequestTimeout) * time.Second,
		DeleteCollectionWorkers:    f.Etcd.DeleteCollectionWorkers,
		DisableWatchCache:          !f.Etcd.EnableWatchCache,
		CompactionInterval:         f.Etcd.StorageConfig.CompactionInterval,
		DisableCompaction:          f.Etcd.StorageConfig.CompactionInterval == 0,
	}
	for resource, size := range sizes {
		if c.Limits.WatchCacheSizes == nil {
			c.Limits.WatchCacheSizes = map[string]int{}
		}
		c.Limits.WatchCacheSizes[resource.String()] = size
	}
	return nil
}
