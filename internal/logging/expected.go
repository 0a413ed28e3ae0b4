// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"regexp"
	"strings"
)

// Expectation is a line that upstream writes as an error or a warning although nothing is
// wrong: a user ends "kubectl exec", a controller is a millisecond ahead of its cache. An
// operator has nothing to do about it, so it is logged at debug level. Other lines keep
// their level: each entry names one line and its source.
type Expectation struct {
	// Package and File contain the text.
	Package, File string
	// Text is the text as File has it.
	Text string
	// Message begins the line. If empty, Text begins it, or any message if Anywhere.
	Message  string
	Anywhere bool
	// Cause matches the rest of the message and the line's error, or its pairs if it has
	// no error. If nil, any cause is expected.
	Cause *regexp.Regexp
	// Why explains the expectation.
	Why string
}

// gone matches the errors of a connection that its client has ended.
var gone = regexp.MustCompile(`client disconnected|http2: stream closed|connection reset by peer|broken pipe|` +
	`use of closed network connection|context canceled|the client closed the response body|forcibly closed by the remote host|aborted by the software`)

// Expectations are the expected lines of klog and of etcd.
var Expectations = []Expectation{
	{
		Package: "go.etcd.io/etcd/server/v3/etcdserver/version", File: "monitor.go",
		Text: "failed to update storage version",
		Why:  "every new member logs it, and succeeds within seconds",
	},
	{
		Package: "go.etcd.io/etcd/server/v3/etcdserver", File: "server.go",
		Text: "Failed to detect schema version",
		Why:  "the same: its database has no term yet; a damaged database fails the start",
	},
	{
		Package: "go.etcd.io/etcd/server/v3/embed", File: "config.go",
		Text: "Running http and grpc server on single port. This is not recommended for production.",
		Why:  "the member serves no clients over the network, or only other members",
	},
	{
		Package: "go.etcd.io/etcd/server/v3/auth", File: "store.go",
		Text: "simple token is not cryptographically signed",
		Why:  "etcd's own authentication is not used",
	},
	{
		Package: "go.etcd.io/etcd/server/v3/etcdserver/txn", File: "util.go",
		Text: "apply request took too long",
		Why:  "its limit is 100 ms, which every busy machine exceeds, with a line for each request; a disk or member that is seconds slow fails the readiness check",
	},
	{
		Package: "go.etcd.io/raft/v3", File: "raft.go",
		Text:     "%x cannot campaign at term %d since there are still pending configuration changes to apply",
		Anywhere: true,
		Cause:    regexp.MustCompile(`\A[0-9a-f]+ cannot campaign at term \d+ since there are still pending configuration changes to apply\z`),
		Why:      "a new member campaigns before it has applied its own membership, and tries again",
	},
	{
		Package: "k8s.io/apiserver/pkg/server", File: "genericapiserver.go",
		Text:    "Skipping API %v because it has no resources.",
		Message: "Skipping API ",
		Cause:   regexp.MustCompile(`because it has no resources`),
		Why:     "API versions that are disabled by default: 32 lines in each start",
	},
	{
		Package: "k8s.io/streaming/pkg/httpstream/wsstream", File: "conn.go",
		Text: "Error on socket receive",
		Why:  "the client of an exec or attach over WebSocket closes the connection when it is done",
	},
	{
		Package: "k8s.io/apiserver/pkg/util/proxy", File: "streamtunnel.go",
		Text:  "SPDY upgrade failed",
		Cause: regexp.MustCompile(`\A status="(4\d\d|501) `),
		Why:   "the kubelet's answer to a port-forward, which the client gets too: simulated nodes have none",
	},
	{
		Package: "k8s.io/apimachinery/pkg/util/proxy", File: "upgradeaware.go",
		Text:  "Error proxying data from client to backend",
		Cause: gone,
		Why:   "the client of a port-forward or exec has ended, as kubectl on Ctrl-C does",
	},
	{
		Package: "k8s.io/apimachinery/pkg/util/proxy", File: "upgradeaware.go",
		Text:  "Error proxying data from backend to client",
		Cause: gone,
		Why:   "the same, while the kubelet was sending",
	},
	{
		Package: "k8s.io/apiserver/pkg/endpoints/handlers", File: "watch.go",
		Text:  "Failed to encode watch event",
		Cause: gone,
		Why:   "the client of a watch has ended it while an event was written",
	},
	{
		Package: "k8s.io/kubernetes/pkg/controller/serviceaccount", File: "legacy_serviceaccount_token_cleaner.go",
		Text:  "Getting lastest possible tracked_since time",
		Cause: regexp.MustCompile(`not found\z`),
		Why:   "the API server writes that ConfigMap a moment after the first start; the controller asks again",
	},
	{
		Package: "k8s.io/kubernetes/pkg/controller/util/consistency", File: "consistency.go",
		Text:     "read version: %s is not as new as written version: %s for group resource %s",
		Anywhere: true,
		Cause:    regexp.MustCompile(`read version: \S* is not as new as written version: \S* for group resource \S+\z`),
		Why:      "a controller waits until its cache has its own write, and is then called again",
	},
	{
		Package: "k8s.io/apiserver/pkg/registry/generic/registry", File: "store.go",
		Text:     "the object has been modified; please apply your changes to the latest version and try again",
		Anywhere: true,
		Cause:    regexp.MustCompile(`the object has been modified; please apply your changes to the latest version and try again\z`),
		Why:      "two clients have written an object at the same time; the controller that was second reads it again",
	},
	{
		Package: "k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle", File: "admission.go",
		Text:     "unable to create new content in namespace %s because it is being terminated",
		Anywhere: true,
		Cause:    regexp.MustCompile(`unable to create new content in namespace \S+ because it is being terminated\z`),
		Why:      "a controller does not know yet that the namespace is being deleted, and creates its objects again",
	},
	{
		Package: "k8s.io/kubernetes/pkg/controller/resourcequota", File: "resource_quota_controller.go",
		Text:  "Error processing resource quota work item",
		Cause: regexp.MustCompile(` not found\z`),
		Why:   "the quota was deleted before its status was written",
	},
	{
		Package: "k8s.io/kubernetes/pkg/controller/disruption", File: "disruption.go",
		Text:  "Failed to sync PDB",
		Cause: regexp.MustCompile(` not found\z`),
		Why:   "the budget was deleted before its status was written",
	},
	{
		Package: "k8s.io/kubernetes/pkg/controller/disruption", File: "disruption.go",
		Text:  "Error syncing PodDisruptionBudget, requeuing",
		Cause: regexp.MustCompile(` not found\z`),
		Why:   "the budget was deleted before its status was written",
	},
	{
		Package: "k8s.io/kubernetes/pkg/controller/replicaset", File: "replica_set.go",
		Text:  "unable to register metrics",
		Cause: regexp.MustCompile(`\Aduplicate metrics collector registration attempted\z`),
		Why:   "the controllers of another or an earlier control plane of the process have registered them",
	},
	{
		Package: "k8s.io/kubernetes/pkg/controlplane/controller/kubernetesservice", File: "controller.go",
		Text: "Found stale data, removed previous endpoints on kubernetes service, apiserver didn't exit successfully previously",
		Why:  "a restored snapshot is of a running control plane; a start itself logs that the last one was killed",
	},
	{
		Package: "k8s.io/kubernetes/pkg/controller/namespace/deletion", File: "namespaced_resources_deleter.go",
		Text:     "unexpected items still remain in namespace: %s for gvr: %v",
		Anywhere: true,
		Cause:    regexp.MustCompile(`unexpected items still remain in namespace: \S+ for gvr: `),
		Why:      "objects with finalizers, and pods in their grace period, delay the deletion of a namespace; its conditions report them",
	},
	{
		Package: "k8s.io/kubernetes/pkg/registry/core/service/ipallocator/controller", File: "repairip.go",
		Text:     "the ClusterIP [%v]: %s for Service %s/%s is not allocated; repairing",
		Anywhere: true,
		Cause:    regexp.MustCompile(`the ClusterIP \[IPv[46]\]: \S+ for Service \S+ is not allocated; repairing\z`),
		Why:      "the controller's cache has a new Service before its IPAddress; a Service that really has none gets one, and an Event",
	},
}

// Faults are lines of etcd that keep their level. Most of etcd's warnings are about
// operations that it retries. Other damage is found before etcd starts, and is an error
// of that start.
var Faults = []Expectation{
	fault("failed to read a snap file"),
	fault("failed to read empty snapshot file"),
	fault("failed to read empty snapshot data"),
	fault("failed to unmarshal snappb.Snapshot"),
	fault("failed to unmarshal raftpb.Snapshot"),
	fault("snap file is corrupt"),
	fault("renamed to a broken snap file"),
}

func fault(text string) Expectation {
	return Expectation{
		Package: "go.etcd.io/etcd/server/v3/etcdserver/api/snap", File: "snapshotter.go", Text: text,
		Why: "the disk has damaged a file; etcd uses an older one and reads the log from there",
	}
}

// isFault reports whether etcd's line is one of Faults.
func isFault(message string) bool {
	for i := range Faults {
		if Faults[i].matches(message, "") {
			return true
		}
	}
	return false
}

// Expected reports whether a line is one of Expectations. cause is its error and the rest
// of its text.
func Expected(message, cause string) bool {
	for i := range Expectations {
		if Expectations[i].matches(message, cause) {
			return true
		}
	}
	return false
}

func (e *Expectation) matches(message, cause string) bool {
	begin := e.Message
	if begin == "" && !e.Anywhere {
		begin = e.Text
	}
	rest, found := strings.CutPrefix(message, begin)
	return found && (e.Cause == nil || e.Cause.MatchString(rest+cause))
}
