// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"strings"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// inFlags renames the fields of a Config in err to the flags that set them.
func inFlags(err error) error {
	return fieldpath.Rename(err, func(path string) string {
		flag := fieldFlags.Rename(strings.TrimPrefix(path, "Config."))
		if strings.HasPrefix(flag, "--") {
			flag, _, _ = strings.Cut(flag, ".") // a part of the value
		}
		return flag
	})
}

// fieldFlags are the flags of the fields of an apiserver.Config and an
// etcd.ExternalConfig.
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
	"Admission.Configuration":     "--admission-control-config-file",
	"Admission.ConfigurationFile": "--admission-control-config-file",
	"AdvertiseAddress":            "--advertise-address",
	"ServiceCIDR":                 "--service-cluster-ip-range",

	"Authentication.Anonymous":                         "--anonymous-auth",
	"Authentication.Audiences":                         "--api-audiences",
	"Authentication.Configuration":                     "--oidc-issuer-url",
	"Authentication.ConfigurationFile":                 "--authentication-config",
	"Authentication.RequestHeader.AllowedNames":        "--requestheader-allowed-names",
	"Authentication.RequestHeader.CAs":                 "--requestheader-client-ca-file",
	"Authentication.RequestHeader.ExtraHeaderPrefixes": "--requestheader-extra-headers-prefix",
	"Authentication.RequestHeader.GroupHeaders":        "--requestheader-group-headers",
	"Authentication.RequestHeader.UIDHeaders":          "--requestheader-uid-headers",
	"Authentication.RequestHeader.UsernameHeaders":     "--requestheader-username-headers",
	"Authentication.SigningAlgorithms":                 "--oidc-signing-algs",
	"Authentication.TokenFile":                         "--token-auth-file",
	"Authentication.Webhook.CacheTTL":                  "--authentication-token-webhook-cache-ttl",
	"Authentication.Webhook.KubeconfigFile":            "--authentication-token-webhook-config-file",
	"Authentication.Webhook.Version":                   "--authentication-token-webhook-version",

	"Authorization.Configuration":     "--authorization-webhook-config-file",
	"Authorization.ConfigurationFile": "--authorization-config",
	"Authorization.Modes":             "--authorization-mode",
	"Authorization.PolicyFile":        "--authorization-policy-file",

	"ServiceAccounts.Issuers":              "--service-account-issuer",
	"ServiceAccounts.JWKSURI":              "--service-account-jwks-uri",
	"ServiceAccounts.MaxTokenExpiration":   "--service-account-max-token-expiration",
	"ServiceAccounts.NoExtendedExpiration": "--service-account-extend-token-expiration",
	"ServiceAccounts.SigningEndpoint":      "--service-account-signing-endpoint",

	"Audit.Log.Compress":              "--audit-log-compress",
	"Audit.Log.Format":                "--audit-log-format",
	"Audit.Log.Delivery":              "--audit-log-mode",
	"Audit.Log.Path":                  "--audit-log-path",
	"Audit.Log.MaxAgeDays":            "--audit-log-maxage",
	"Audit.Log.MaxBackups":            "--audit-log-maxbackup",
	"Audit.Log.MaxSizeMB":             "--audit-log-maxsize",
	"Audit.PolicyFile":                "--audit-policy-file",
	"Audit.Log.Delivery.Truncate":     "--audit-log-truncate-enabled",
	"Audit.Webhook.Unthrottled":       "--audit-webhook-batch-throttle-enable",
	"Audit.Webhook.Delivery":          "--audit-webhook-mode",
	"Audit.Webhook.InitialBackoff":    "--audit-webhook-initial-backoff",
	"Audit.Webhook.KubeconfigFile":    "--audit-webhook-config-file",
	"Audit.Log.Delivery.Version":      "--audit-log-version",
	"Audit.Webhook.Delivery.Version":  "--audit-webhook-version",
	"Audit.Webhook.Delivery.Truncate": "--audit-webhook-truncate-enabled",

	"Serving.CORSAllowedOrigins":           "--cors-allowed-origins",
	"Serving.CertFile":                     "--tls-cert-file",
	"Serving.CipherSuites":                 "--tls-cipher-suites",
	"Serving.CurvePreferences":             "--tls-curve-preferences",
	"Serving.DisableHTTP2":                 "--disable-http2-serving",
	"Serving.GoawayChance":                 "--goaway-chance",
	"Serving.HSTSDirectives":               "--strict-transport-security-directives",
	"Serving.HTTP2MaxStreamsPerConnection": "--http2-max-streams-per-connection",
	"Serving.KeyFile":                      "--tls-private-key-file",
	"Serving.MinTLSVersion":                "--tls-min-version",
	"Serving.SNICertificates":              "--tls-sni-cert-key",

	"Network.DisableEndpoints":     "--endpoint-reconciler-type",
	"Network.ExternalHost":         "--external-hostname",
	"Network.SecondaryServiceCIDR": "--service-cluster-ip-range",
	"Network.ServiceNodePortRange": "--service-node-port-range",

	"EtcdOverrides":                     "--etcd-servers-overrides",
	"Limits.CompactionInterval":         "--etcd-compaction-interval",
	"Limits.DeleteCollectionWorkers":    "--delete-collection-workers",
	"Limits.DisableCompaction":          "--etcd-compaction-interval",
	"Limits.DisablePriorityAndFairness": "--enable-priority-and-fairness",
	"Limits.DisableWatchCache":          "--watch-cache",
	"Limits.MinRequestTimeout":          "--min-request-timeout",
	"Limits.WatchCacheSizes":            "--watch-cache-sizes",
}
