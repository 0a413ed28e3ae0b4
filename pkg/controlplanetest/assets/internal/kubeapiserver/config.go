// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// config returns the configuration of the flags, without the fields that hold open files
// and connections.
func (f *flags) config() (apiserver.Config, error) {
	c := apiserver.Config{
		AdvertiseAddress:            f.GenericServerRunOptions.AdvertiseAddress,
		RuntimeConfig:               f.APIEnablement.RuntimeConfig,
		MaxRequestsInFlight:         f.GenericServerRunOptions.MaxRequestsInFlight,
		MaxMutatingRequestsInFlight: f.GenericServerRunOptions.MaxMutatingRequestsInFlight,
		RequestTimeout:              f.GenericServerRunOptions.RequestTimeout,
		EventTTL:                    f.EventTTL,
		Controllers:                 f.coreControllers,
		Authorization:               apiserver.Authorization{Modes: list(f.Authorization.Modes)},
		Audit: apiserver.Audit{
			LogPath:    f.Audit.LogOptions.Path,
			PolicyFile: f.Audit.PolicyFile,
			MaxSizeMB:  f.Audit.LogOptions.MaxSize,
			MaxBackups: f.Audit.LogOptions.MaxBackups,
		},
	}
	if len(c.AdvertiseAddress) == 0 || c.AdvertiseAddress.IsUnspecified() {
		c.AdvertiseAddress = nil
	}
	var errs []error
	errs = append(errs, f.issuer(&c), f.serviceCIDR(&c))
	audit(&c)
	for _, mode := range []string{modes.ModeWebhook, modes.ModeABAC} {
		if slices.Contains(c.Authorization.Modes, mode) {
			errs = append(errs, fmt.Errorf("--authorization-mode=%s is not supported by this program: use Node, RBAC, AlwaysAllow or AlwaysDeny", mode))
		}
	}
	f.admission(&c)
	if len(f.Etcd.StorageConfig.Transport.ServerList) == 0 {
		errs = append(errs, errors.New("--etcd-servers must be set"))
	}
	if err := errors.Join(errs...); err != nil {
		return c, err
	}
	return c, inFlags(access.ValidateOptional(c).ToAggregate())
}

// admission configures kube-apiserver's default plugins: compared to package
// apiserver's, without NodeRestriction and with ServiceAccount and
// TaintNodesByCondition.
func (f *flags) admission(c *apiserver.Config) {
	enable := list(f.Admission.GenericAdmission.EnablePlugins)
	disable := list(f.Admission.GenericAdmission.DisablePlugins)
	for _, plugin := range []string{"ServiceAccount", "TaintNodesByCondition"} {
		if !slices.Contains(disable, plugin) && !slices.Contains(enable, plugin) {
			enable = append(enable, plugin)
		}
	}
	if plugin := "NodeRestriction"; !slices.Contains(disable, plugin) && !slices.Contains(enable, plugin) {
		disable = append(disable, plugin)
	}
	c.EnableAdmissionPlugins, c.DisableAdmissionPlugins = enable, disable
}

func (f *flags) issuer(c *apiserver.Config) error {
	issuers, audiences := f.Authentication.ServiceAccounts.Issuers, f.Authentication.APIAudiences
	if len(issuers) > 1 {
		return fmt.Errorf("--service-account-issuer: got %d issuers, this program supports one", len(issuers))
	}
	if len(issuers) == 1 {
		c.ServiceAccounts.Issuers = issuers
	}
	if len(audiences) > 0 && !slices.Equal(audiences, issuers) {
		return fmt.Errorf("--api-audiences: got %q, this program supports only the issuer of --service-account-issuer", audiences)
	}
	return nil
}

func (f *flags) serviceCIDR(c *apiserver.Config) error {
	if f.serviceClusterIPRange == "" {
		cidr := kubeoptions.DefaultServiceIPCIDR
		c.ServiceCIDR = &cidr
		return nil
	}
	if strings.Contains(f.serviceClusterIPRange, ",") {
		return fmt.Errorf("--service-cluster-ip-range=%s: this program supports one range", f.serviceClusterIPRange)
	}
	_, cidr, err := net.ParseCIDR(f.serviceClusterIPRange)
	if err != nil {
		return fmt.Errorf("--service-cluster-ip-range: %w", err)
	}
	c.ServiceCIDR = cidr
	return nil
}

// audit treats the audit flags like kube-apiserver: "-" is standard output, and a policy
// without a log has no effect.
func audit(c *apiserver.Config) {
	if c.Audit.LogPath == "-" {
		c.Audit.LogPath = "/dev/stdout"
	}
	if c.Audit.LogPath == "" {
		c.Audit = apiserver.Audit{}
	}
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
