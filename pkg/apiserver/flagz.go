// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"maps"
	"net"
	"strconv"
	"strings"

	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/kubembed/kubembed/internal/apiserver/coordination"
	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
)

// flagz serves at /flagz the flags with which kube-apiserver would work like the server,
// as far as such flags exist. It has no secrets: Config.Encryption and Config.PKI are
// left out.
type flagz struct {
	config    Config
	anonymous bool // clients without credentials are accepted
}

// configureFlagz sets the flags of /flagz.
func configureFlagz(e *environment, c *genericapiserver.Config, a *authentication) {
	c.Flagz = flagz{e.config, a.anonymous.Enabled}
	if e.config.flags != nil {
		c.Flagz = e.config.flags
	}
}

func (f flagz) GetFlagz() map[string]string {
	c := f.config
	enable, disable := c.admissionPlugins()
	all := map[string]string{
		"advertise-address":              c.AdvertiseAddress.String(),
		"allow-privileged":               "true",
		"anonymous-auth":                 strconv.FormatBool(f.anonymous),
		"api-audiences":                  list(c.audiences()),
		"apiserver-count":                strconv.Itoa(coordination.ServerCount(c.Shared)),
		"audit-log-maxbackup":            strconv.Itoa(c.Audit.Log.MaxBackups),
		"audit-log-maxsize":              strconv.Itoa(c.Audit.Log.MaxSizeMB),
		"audit-log-path":                 c.Audit.Log.Path,
		"audit-policy-file":              c.Audit.PolicyFile,
		"authorization-config":           c.Authorization.ConfigurationFile,
		"authorization-mode":             list(c.Authorization.modes()),
		"authorization-policy-file":      c.Authorization.PolicyFile,
		"disable-admission-plugins":      list(disable),
		"enable-admission-plugins":       list(enable),
		"enable-bootstrap-token-auth":    "true",
		"enable-priority-and-fairness":   strconv.FormatBool(!c.Limits.DisablePriorityAndFairness),
		"etcd-prefix":                    c.Prefix,
		"event-ttl":                      c.EventTTL.String(),
		"max-mutating-requests-inflight": strconv.Itoa(c.MaxMutatingRequestsInFlight),
		"max-requests-inflight":          strconv.Itoa(c.MaxRequestsInFlight),
		"profiling":                      strconv.FormatBool(c.Profiling),
		"request-timeout":                c.RequestTimeout.String(),
		"runtime-config":                 runtimeconfig.Format(c.RuntimeConfig),
		"service-account-issuer":         list(c.ServiceAccounts.Issuers),
		"service-cluster-ip-range":       c.serviceRanges().String(),
	}
	maps.Copy(all, c.Serving.flags())
	if file := c.Admission.ConfigurationFile; file != "" {
		all["admission-control-config-file"] = file
	}
	if host, port, err := net.SplitHostPort(c.Listener.Addr().String()); err == nil {
		all["bind-address"], all["secure-port"] = host, port
	}
	c.Authentication.addFlags(all)
	c.Network.addFlags(all)
	c.Audit.addFlags(all)
	c.Limits.addFlags(all)
	if len(c.EtcdOverrides) > 0 {
		all["etcd-servers-overrides"] = list(overrideFlags(c.EtcdOverrides))
	}
	return all
}

// list formats values as pflag formats lists.
func list(values []string) string { return "[" + strings.Join(values, ",") + "]" }
