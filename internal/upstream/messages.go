// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

// messageEntries are for matched texts of errors and log lines. logging.Expectations has
// further log lines, and a separate test, which uses Differences.
var messageEntries = []Entry{
	{
		Ours: "internal/logging/expected.go:Expectations",
		Test: "internal/logging:TestExpectationsAreUpstreams",
		Look: "Each text is compared with upstream's source: one that has changed is a warning again.",
	},
	// logging.IsShutdownError: such lines of other control planes are at debug level
	// during a stop.
	shutdownError("net/http", "ErrHandlerTimeout", "Handler timeout"),
	shutdownError("k8s.io/apiserver/pkg/server/filters", "timeout.go", `"Post-timeout activity"`),
	shutdownError("k8s.io/apiserver/pkg/endpoints/handlers/finisher", "", "FinishRequest: post-timeout activity"),
	shutdownError("k8s.io/apiserver/pkg/server/filters", "WithPanicRecovery", `"Timeout or abort while handling"`),
	shutdownError("k8s.io/client-go/tools/cache", "shared_informer.go", `"Unable to sync caches"`),
	shutdownError("k8s.io/kube-aggregator/pkg/controllers", "", "Unable to sync caches for"),
	shutdownError("k8s.io/kubernetes/pkg/controlplane/controller/systemnamespaces", "", "timed out waiting for caches"),
	shutdownError("k8s.io/kubernetes/pkg/controlplane/controller/apiserverleasegc", "", "Timed out waiting for caches"),
	shutdownError("google.golang.org/grpc", "ErrClientConnClosing", "client connection is closing"),
	shutdownError("internal/poll", "errNetClosing.Error", "use of closed network connection"),
	shutdownError("context", "Canceled", `"context canceled"`),

	// Texts of errors.
	{
		Ours:    "internal/apiserver/servicecidr/allocator.go:withoutAddress",
		Package: "k8s.io/kubernetes/pkg/registry/core/service/storage", Decl: "(*Allocators).allocIPs",
		Has: []string{
			"errors.Is(err, ipallocator.ErrFull)",
			`fmt.Sprintf("failed to allocate IP: %v", err)`,
			`apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", service.Name, err))`,
		},
		Look: "A status error keeps only the text of the allocator's error, in which withoutAddress finds the texts of ErrFull and ErrNotReady: else a start does not wait for the allocator, and the first Services fail.",
	},
	{
		Ours:    "pkg/etcd/status.go:alarmIn",
		Package: "go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc", Decl: "(*maintenanceServer).Status",
		Has: []string{"range ms.a.Alarms()", "resp.Errors = append(resp.Errors, a.String())"}, Test: "pkg/etcd:TestAlarmsOfAllEtcds",
		Look: "alarmIn parses the text form of an AlarmMember: else the readiness check of an external etcd misses its alarms.",
	},
	{
		Ours:    "internal/etcd/failover/dialer.go:IsTLSAlert",
		Package: "crypto/tls", Decl: "(*Conn).readRecordOrCCS",
		Has:  []string{`&net.OpError{Op: "remote error", Err: alert(data[1])}`},
		Look: "the server of peers knows a received alert by it: else members wait for others that do not take their certificate.",
	},
	{
		Ours:    "internal/etcd/failover/dialer.go:(*refusal).Read",
		Package: "crypto/tls", Decl: "(*Conn).readRecordOrCCS",
		Has:  []string{`&net.OpError{Op: "remote error", Err: alert(data[1])}`},
		Look: "An alert is how an external etcd refuses a client's certificate: else a start that fails does not say so.",
	},
	{
		Ours:    "internal/apiserver/serving/server.go:errorLog",
		Package: "net/http", Decl: "(*conn).serve",
		Has:  []string{`c.server.logf("http: TLS handshake error from %s: %v"`},
		Look: "errorLog has these lines at debug level: else each port scan is a warning.",
	},
	{
		Ours:    "pkg/apiserver/ready.go:(*Server).failedChecks",
		Package: "k8s.io/apiserver/pkg/server/healthz", Decl: "handleRootHealth",
		Has:  []string{`fmt.Fprintf(&individualCheckOutput, "[-]%s failed: reason withheld\n", check.Name())`},
		Look: "failedChecks reads the names of the failed checks from the answer of /readyz: else a start that fails does not name them, and a stop does not wait for start hooks.",
	},
	{
		Ours:    "internal/apiserver/audit/rotation.go:backupTime",
		Package: "gopkg.in/natefinch/lumberjack.v2", Decl: "backupTimeFormat",
		Has:  []string{`"2006-01-02T15-04-05.000"`},
		Look: "Names of rotated audit logs have this form: else logs from the future push out new ones.",
	},
	{
		Ours:    "internal/apiserver/audit/rotation.go:Backups.correct",
		Package: "gopkg.in/natefinch/lumberjack.v2", Decl: "backupName", Has: []string{`fmt.Sprintf("%s-%s%s", prefix, timestamp, ext)`},
		Look: "Names of rotated audit logs have this form: else logs from the future push out new ones.",
	},
	{
		Ours:    "pkg/apiserver/config.go",
		Package: "k8s.io/apiserver/pkg/server/resourceconfig", Decl: "",
		Has:  []string{"runtime-config"},
		Look: "Errors of RuntimeConfig name upstream's flag, which is replaced by the field.",
	},
	{
		Ours:    "internal/bench/start.go:envtestGivesUp",
		Package: "sigs.k8s.io/controller-runtime/pkg/internal/testing/process", Decl: "(*State).Stop",
		Has:  []string{`fmt.Errorf("timeout waiting for process %s to stop", path.Base(ps.Path))`},
		Look: "The bench takes this error of envtest for a slow stop and not for a failure.",
	},

	{
		Ours:    "internal/apiserver/informers/blocking.go:blockingInformer.HasSynced",
		Package: "k8s.io/apiserver/pkg/admission/plugin/policy/generic", Decl: "(*policySource).UpstreamHasSynced",
		Has:  []string{"s.policyInformer.HasSynced() && s.bindingInformer.HasSynced()"},
		Look: "HasSynced blocks until the informer has synced, which a goroutine of upstream's own waits for: another that asks would be held up.",
	},
}

func shutdownError(pkg, decl, text string) Entry {
	return Entry{
		Ours: "internal/logging/shutdown.go:shutdownErrors", Package: pkg, Decl: decl, Has: []string{text},
		Look: "Change the text in shutdownError: else a stop of one control plane is a warning in the log of another.",
	}
}
