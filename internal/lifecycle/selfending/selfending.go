// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package selfending lists the goroutines that no stop waits for. They belong to upstream
// or Go, and this project cannot stop them. They end by themselves, or serve the whole
// process.
package selfending

import (
	"slices"
	"strings"
)

// Function is a function of another module, or of Go.
type Function struct {
	Package string // import path
	Name    string // Func, T.Method or (*T).Method
	// Usual goroutines remain after every stop. Leak tests ignore only these.
	Usual bool
	// Literal reports that the goroutine runs a function literal in the function.
	Literal bool
	// Since is the first Go release with the function, Before the first without it.
	Since, Before string
	Why           string
}

// Functions is the list of all such functions. Package upstream tests that they exist.
var Functions = []Function{
	{
		Package: "k8s.io/klog/v2", Name: "(*flushDaemon).run", Usual: true, Literal: true,
		Why: "klog starts it for the process",
	},
	{
		Package: "k8s.io/apiserver/pkg/storage/cacher", Name: "(*watchCache).waitUntilFreshLocked", Usual: true, Literal: true,
		Why: "the API server starts a timer of three seconds for each in-process list at a resource version",
	},
	{
		Package: "k8s.io/kubernetes/pkg/volume/csi", Name: "(*csiAttacher).Attach",
		Why: "it waits until a CSI driver has attached, for two minutes at most",
	},
	{
		Package: "k8s.io/kubernetes/pkg/volume/csi", Name: "(*csiAttacher).Detach",
		Why: "it waits until a CSI driver has detached, for two minutes at most",
	},
	{
		Package: "k8s.io/kubernetes/pkg/volume/util/recyclerclient", Name: "internalRecycleVolumeByWatchingPodUntilCompletion",
		Why: "it waits for the pod that empties a volume, for as long as that may run",
	},
	{
		Package: "k8s.io/kubernetes/pkg/scheduler/metrics", Name: "(*MetricAsyncRecorder).run", Usual: true,
		Why: "it sleeps for a second before it checks whether to stop",
	},
	{
		Package: "os/signal", Name: "loop",
		Why: "it belongs to the process: the first call of signal.Notify starts it",
	},
	{
		Package: "net/http", Name: "(*persistConn).readLoop",
		Why: "connections to webhooks and extenders, which client-go keeps until they are idle for 90 s",
	},
	{
		Package: "net/http", Name: "(*persistConn).writeLoop",
		Why: "the same",
	},
	{
		Package: "net/http", Name: "(*http2ClientConn).readLoop", Before: "go1.27",
		Why: "the same, over HTTP/2",
	},
	{
		Package: "net/http/internal/http2", Name: "(*ClientConn).readLoop", Since: "go1.27",
		Why: "the same, over HTTP/2",
	},
	{
		Package: "golang.org/x/net/http2", Name: "(*ClientConn).readLoop",
		Why: "the same, over HTTP/2",
	},
	{
		Package: "net/http", Name: "(*connReader).backgroundRead",
		Why: "connections on which other members have sent single requests; etcd closes them after five seconds without data",
	},
	{
		Package: "net/http", Name: "(*connReader).abortPendingRead",
		Why: "the same",
	},
	{
		Package: "gopkg.in/natefinch/lumberjack.v2", Name: "(*Logger).millRun",
		Why: "it compresses and deletes the audit logs of a rotation just before the stop",
	},
	{
		Package: "k8s.io/apiserver/plugin/pkg/audit/buffered", Name: "(*bufferedBackend).processEvents", Literal: true,
		Why: "it tries to send audit events to a webhook that does not answer, four times at growing intervals",
	},
	{
		Package: "k8s.io/apiserver/plugin/pkg/audit/buffered", Name: "(*bufferedBackend).Shutdown",
		Why: "it waits for that",
	},
}

// Symbol returns the function's name on a stack, where dots in the last element of the
// import path are escaped.
func (f Function) Symbol() string {
	slash := strings.LastIndexByte(f.Package, '/') + 1
	return f.Package[:slash] + strings.ReplaceAll(f.Package[slash:], ".", "%2e") + "." + f.Name
}

// On reports whether the function, or a closure in it, is on a stack.
func (f Function) On(stack []string) bool {
	symbol := f.Symbol()
	return slices.ContainsFunc(stack, func(function string) bool {
		rest, ok := strings.CutPrefix(function, symbol)
		return ok && (rest == "" || rest[0] == '.')
	})
}

// Any reports whether one of Functions is on a stack.
func Any(stack []string) bool {
	return slices.ContainsFunc(Functions, func(f Function) bool { return f.On(stack) })
}
