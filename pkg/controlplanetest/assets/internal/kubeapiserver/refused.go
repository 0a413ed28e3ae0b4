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
	"aggregator-reject-forwarding-redirect":       {"true", "an aggregated API server could send its clients' requests elsewhere"},
	"contention-profiling":                        {"false", profiling},
	"coordinated-leadership-lease-duration":       {"15s", leadership},
	"coordinated-leadership-renew-deadline":       {"10s", leadership},
	"coordinated-leadership-retry-period":         {"2s", leadership},
	"debug-socket-path":                           {"", profiling},
	"emulation-forward-compatible":                {"false", emulation},
	"enable-garbage-collector":                    {"true", "dependents and finalizers are always kept for a garbage collector"},
	"enable-logs-handler":                         {"false", "the program writes no log files, and does not serve those of its machine"},
	"kubernetes-service-node-port":                {"0", "the Service kubernetes has no node port"},
	"peer-advertise-ip":                           {"", peers},
	"peer-advertise-port":                         {"", peers},
	"peer-ca-file":                                {"", peers},
	"runtime-config-emulation-forward-compatible": {"false", emulation},
	"service-account-lookup":                      {"true", "tokens of deleted service accounts would be valid"},
	"storage-media-type":                          {"application/vnd.kubernetes.protobuf", "built-in kinds are stored as other programs expect them"},
}

// notZero are flags whose zero the program would take for the default.
var notZero = map[string]string{
	"event-ttl":                      "Events always expire",
	"max-mutating-requests-inflight": inflight,
	"max-requests-inflight":          inflight,
	"min-request-timeout":            "watches always end at some time",
	"request-timeout":                "it would fail all requests",
}

const (
	inflight   = "there is always a limit for reads, and one for writes"
	profiling  = "--profiling serves profiles to authorized clients"
	leadership = "upstream's defaults apply, with the feature gate CoordinatedLeaderElection"
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
	for _, name := range slices.Sorted(maps.Keys(notZero)) {
		if value := f.all.Lookup(name).Value.String(); value == "0" || value == "0s" {
			errs = append(errs, fmt.Errorf("--%s=%s is not supported: %s; set another value, or leave it out for the default", name, value, notZero[name]))
		}
	}
	if f.kube.endpointReconcilerType == "master-count" {
		errs = append(errs, errors.New("--endpoint-reconciler-type=master-count is not supported: it is deprecated; use lease or none"))
	}
	return errors.Join(errs...)
}
