// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"errors"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// config returns the configuration of the flags, without the fields that hold open files
// and connections.
func (f *completed) config() (apiserver.Config, error) {
	c := apiserver.Config{
		AdvertiseAddress:            f.advertised,
		ServiceCIDR:                 f.serviceRanges[0],
		RuntimeConfig:               f.runtimeConfig,
		MaxRequestsInFlight:         f.GenericServerRunOptions.MaxRequestsInFlight,
		MaxMutatingRequestsInFlight: f.GenericServerRunOptions.MaxMutatingRequestsInFlight,
		RequestTimeout:              f.GenericServerRunOptions.RequestTimeout,
		EventTTL:                    f.EventTTL,
		Prefix:                      path.Join("/", f.Etcd.StorageConfig.Prefix), // as upstream
		Profiling:                   f.Features.EnableProfiling,
		Controllers:                 f.coreControllers,
		Authorization:               apiserver.Authorization{Modes: f.Authorization.Modes},
		ServiceAccounts:             apiserver.ServiceAccounts{Issuers: f.Authentication.ServiceAccounts.Issuers},
		Audit:                       f.audit(),
	}
	c.EnableAdmissionPlugins, c.DisableAdmissionPlugins = f.admission()
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

// audit treats the audit flags like kube-apiserver: "-" is standard output, a policy
// without a log has no effect, and a log without a policy has no events.
func (f *completed) audit() apiserver.Audit {
	o := f.Audit
	if o.LogOptions.Path == "" || o.PolicyFile == "" {
		return apiserver.Audit{}
	}
	a := apiserver.Audit{
		LogPath:    o.LogOptions.Path,
		PolicyFile: o.PolicyFile,
		MaxSizeMB:  o.LogOptions.MaxSize,
		MaxBackups: o.LogOptions.MaxBackups,
	}
	if a.LogPath == "-" {
		a.LogPath = "/dev/stdout"
	}
	return a
}

// inFlags renames the fields of an apiserver.Config in err to the flags that set them.
func inFlags(err error) error {
	return fieldpath.Rename(err, func(path string) string {
		return fieldFlags.Rename(strings.TrimPrefix(path, "Config."))
	})
}

var fieldFlags = fieldpath.Names{
	"MaxMutatingRequestsInFlight": "--max-mutating-requests-inflight",
	"MaxRequestsInFlight":         "--max-requests-inflight",
	"RequestTimeout":              "--request-timeout",
	"EventTTL":                    "--event-ttl",
	"Prefix":                      "--etcd-prefix",
	"Endpoints":                   "--etcd-servers",
	"CA":                          "--etcd-cafile",
	"Cert":                        "--etcd-certfile",
	"Key":                         "--etcd-keyfile",
	"RuntimeConfig":               "--runtime-config",
	"EnableAdmissionPlugins":      "--enable-admission-plugins",
	"DisableAdmissionPlugins":     "--disable-admission-plugins",
	"Authorization.Modes":         "--authorization-mode",
	"AdvertiseAddress":            "--advertise-address",
	"ServiceCIDR":                 "--service-cluster-ip-range",
	"Audit.LogPath":               "--audit-log-path",
	"Audit.PolicyFile":            "--audit-policy-file",
	"Audit.MaxSizeMB":             "--audit-log-maxsize",
	"Audit.MaxBackups":            "--audit-log-maxbackup",
}
