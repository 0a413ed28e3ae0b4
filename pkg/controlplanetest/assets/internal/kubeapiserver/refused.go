// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// refusal is a flag that would change results for clients, and that the program cannot
// follow.
type refusal struct {
	// accepted is the only value that is accepted: the program does that in any case.
	accepted string
	reason   string
}

// refused are all such flags.
var refused = map[string]refusal{
	"aggregator-reject-forwarding-redirect":       {"true", "an aggregated API server could send the credentials of its proxy elsewhere"},
	"api-audiences":                               {"[]", notYet},
	"audit-webhook-config-file":                   {"", notYet},
	"authentication-config":                       {"", notYet},
	"authentication-token-webhook-config-file":    {"", notYet},
	"authorization-config":                        {"", notYet},
	"authorization-policy-file":                   {"", notYet},
	"authorization-webhook-config-file":           {"", notYet},
	"admission-control-config-file":               {"", notYet},
	"contention-profiling":                        {"false", profiling},
	"coordinated-leadership-lease-duration":       {"15s", leadership},
	"coordinated-leadership-renew-deadline":       {"10s", leadership},
	"coordinated-leadership-retry-period":         {"2s", leadership},
	"cors-allowed-origins":                        {"[]", notYet},
	"debug-socket-path":                           {"", profiling},
	"disable-http2-serving":                       {"false", notYet},
	"egress-selector-config-file":                 {"", notYet},
	"emulation-forward-compatible":                {"false", emulation},
	"enable-garbage-collector":                    {"true", "the storage of this program always keeps dependents and finalizers for a garbage collector"},
	"enable-logs-handler":                         {"false", "the program writes no log files, and does not serve those of its machine"},
	"enable-priority-and-fairness":                {"true", "switch flowcontrol.apiserver.k8s.io off with --runtime-config"},
	"etcd-servers-overrides":                      {"[]", notYet},
	"external-hostname":                           {"", notYet},
	"kubernetes-service-node-port":                {"0", "the Service kubernetes has no node port"},
	"oidc-issuer-url":                             {"", notYet},
	"peer-advertise-ip":                           {"", peers},
	"peer-advertise-port":                         {"", peers},
	"peer-ca-file":                                {"", peers},
	"proxy-client-cert-file":                      {"", notYet},
	"requestheader-client-ca-file":                {"", notYet},
	"runtime-config-emulation-forward-compatible": {"false", emulation},
	"service-account-extend-token-expiration":     {"true", notYet},
	"service-account-jwks-uri":                    {"", notYet},
	"service-account-lookup":                      {"true", "tokens of deleted service accounts would be valid"},
	"service-account-max-token-expiration":        {"0s", notYet},
	"service-account-signing-endpoint":            {"", notYet},
	"service-node-port-range":                     {"30000-32767", notYet},
	"storage-media-type":                          {"application/vnd.kubernetes.protobuf", "it stores built-in kinds as protobuf, so that other programs can read them"},
	"strict-transport-security-directives":        {"[]", notYet},
	"tls-cipher-suites":                           {"[]", notYet},
	"tls-curve-preferences":                       {"[]", notYet},
	"tls-min-version":                             {"", notYet},
	"tls-sni-cert-key":                            {"[]", notYet},
	"token-auth-file":                             {"", notYet},
}

const (
	notYet     = "it has no effect in this program"
	profiling  = "--profiling serves profiles to authorized clients"
	leadership = "with the feature gate CoordinatedLeaderElection, Leases have kube-apiserver's defaults"
	emulation  = "with --emulated-version, newer APIs are not served"
	peers      = "servers do not forward requests to each other"
)

func (f *flags) refuse() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		if flag := f.all.Lookup(name); flag.Value.String() != refused[name].accepted {
			errs = append(errs, fmt.Errorf("--%s=%s is not supported: %s; leave it out, or run kube-apiserver itself", name, flag.Value, refused[name].reason))
		}
	}
	if f.kube.endpointReconcilerType == "master-count" {
		errs = append(errs, errors.New("--endpoint-reconciler-type=master-count is not supported: it is deprecated; use lease or none"))
	}
	if issuers := f.Authentication.ServiceAccounts.Issuers; len(issuers) > 1 {
		errs = append(errs, fmt.Errorf("--service-account-issuer=%q is not supported: this program has one issuer", issuers))
	}
	return errors.Join(errs...)
}
