package apiserver

import (
	"net"
	"strconv"
	"strings"

	"github.com/kubembed/kubembed/internal/apiserver/coordination"
	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
)

// flags shows at /flagz the flags with which kube-apiserver would do what the server
// does, as far as there are such flags. No secret is among them: the keys of
// Config.Encryption and all of Config.PKI are left out.
type flags struct{ config Config }

func (f flags) GetFlagz() map[string]string {
	c := f.config
	enable, disable := c.admissionPlugins()
	all := map[string]string{
		"advertise-address":              c.AdvertiseAddress.String(),
		"allow-privileged":               "true",
		"anonymous-auth":                 "true",
		"apiserver-count":                strconv.Itoa(coordination.ServerCount(c.Shared)),
		"audit-log-maxbackup":            strconv.Itoa(c.Audit.MaxBackups),
		"audit-log-maxsize":              strconv.Itoa(c.Audit.MaxSizeMB),
		"audit-log-path":                 c.Audit.LogPath,
		"audit-policy-file":              c.Audit.PolicyFile,
		"authorization-mode":             list(c.modes()),
		"disable-admission-plugins":      list(disable),
		"enable-admission-plugins":       list(enable),
		"enable-bootstrap-token-auth":    "true",
		"enable-priority-and-fairness":   "true",
		"etcd-prefix":                    c.Prefix,
		"event-ttl":                      c.EventTTL.String(),
		"max-mutating-requests-inflight": strconv.Itoa(c.MaxMutatingRequestsInFlight),
		"max-requests-inflight":          strconv.Itoa(c.MaxRequestsInFlight),
		"profiling":                      strconv.FormatBool(c.Profiling),
		"request-timeout":                c.RequestTimeout.String(),
		"runtime-config":                 runtimeconfig.Format(c.RuntimeConfig),
		"service-account-issuer":         list([]string{c.ServiceAccountIssuer}),
		"service-cluster-ip-range":       c.ServiceCIDR.String(),
	}
	if host, port, err := net.SplitHostPort(c.Listener.Addr().String()); err == nil {
		all["bind-address"], all["secure-port"] = host, port
	}
	return all
}

// list has the form of a list of pflag.
func list(values []string) string { return "[" + strings.Join(values, ",") + "]" }
