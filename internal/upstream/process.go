// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"go/version"
	"runtime"

	"github.com/kubembed/kubembed/internal/lifecycle/selfending"
)

// processEntries are for the protection of the host's process: exits, panics, goroutines,
// stacks. Exits lists the code that can end it, other than klog and zap.
var processEntries = append([]Entry{
	// klog, whose fatal errors and output klogbridge takes.
	{
		Ours:    "internal/klogbridge/fatal.go:init",
		Package: "k8s.io/klog/v2", Decl: "OsExit",
		Has:  []string{"OsExit = os.Exit"},
		Look: "klog ends the process through this variable, which klogbridge replaces: find the new way, or a Fatal of klog ends the host's process.",
	},
	{
		Ours:    "internal/klogbridge/fatal.go:init",
		Package: "k8s.io/klog/v2", Decl: "OsExit",
		Users: []string{"FlushAndExit", "(*loggingT).output", "(*loggingT).exit"},
		Look:  "Each of them holds klog's lock when it exits, or does not: see that ending the goroutine there leaves klog unlocked.",
	},
	{
		Ours:    "internal/klogbridge/bridge.go:(*bridge).Write",
		Package: "k8s.io/klog/v2", Decl: "FatalLog",
		Users: []string{
			"SetOutput", "(*loggingT).output", "(*loggingT).flushAll",
			"Fatal", "FatalDepth", "Fatalln", "FatallnDepth", "Fatalf", "FatalfDepth",
			"Exit", "ExitDepth", "Exitln", "ExitlnDepth", "Exitf", "ExitfDepth",
		},
		Look: "Write takes a line for fatal if a function whose name begins with Fatal or Exit is on the stack: another that logs at this severity would end the host's process.",
	},
	{
		Ours:    "internal/klogbridge/fatal.go:giveUp",
		Package: "k8s.io/klog/v2", Decl: "(*loggingT).output",
		Has: []string{
			"l.mu.Lock()", "defer func() {", "if isLocked {", "l.mu.Unlock()",
			"case severity.FatalLog:", "fallthrough", "case severity.ErrorLog:", "fallthrough", "case severity.WarningLog:", "fallthrough", "case severity.InfoLog:",
			"if s == severity.FatalLog {", "l.mu.Unlock()", "isLocked = false", "timeoutFlush(ExitFlushTimeout)", "OsExit(255)",
		},
		Look: "klogbridge ends a goroutine within Write, under this lock, and in OsExit, without it, and counts on a line going to the outputs of all lower severities: see that the lock is released and that no line is lost or doubled.",
	},
	{
		Ours:    "internal/klogbridge/bridge.go:takeOver",
		Package: "k8s.io/klog/v2", Decl: "init",
		Has:  []string{`&logging.toStderr, "logtostderr", true`, `&logging.stderrThreshold, "stderrthreshold"`},
		Look: "takeOver reads and sets these flags: under other names the host's settings are overwritten, or klog prints.",
	},
	{
		Ours:    "internal/klogbridge/bridge.go:takeOver",
		Package: "k8s.io/klog/v2", Decl: "LogToStderr",
		Has:  []string{"logging.mu.Lock()", "logging.toStderr = stderr"},
		Look: "takeOver calls it while others log: without the lock that is a data race.",
	},
	{
		Ours:    "internal/klogbridge/bridge.go:takeOver",
		Package: "k8s.io/klog/v2", Decl: "SetOutputBySeverity",
		Has:  []string{"logging.mu.Lock()", "logging.file[sev] = w"},
		Look: "takeOver calls it while others log: without the lock that is a data race.",
	},
	{
		Ours:    "internal/klogbridge/bridge.go:parse",
		Package: "k8s.io/klog/v2/internal/buffer", Decl: "(*Buffer).FormatHeader",
		Digest: "1d62993b1e9f3b92", Test: "internal/klogbridge:TestLevelsAndSource",
		Look: "parse splits this header: a line would have no level and no source.",
	},
	{
		Ours:    "internal/klogbridge/pairs.go:parsePairs",
		Package: "k8s.io/klog/v2/internal/serialize", Decl: "keyvalues.go",
		Digest: "091b4e3ca3a80231", Test: "internal/klogbridge:TestPairsBecomeFields",
		Look: "parsePairs reads this format: otherwise pairs would stay text, and expected lines would be warnings.",
	},
	{
		Ours:    "internal/klogbridge/fatal.go:hook",
		Package: "k8s.io/apiserver/pkg/server", Decl: "runPostStartHook",
		Has:  []string{"err = entry.hook(context)", `klog.Fatalf("PostStartHook %q failed: %v", name, err)`, "close(entry.done)"},
		Look: "klogbridge knows the fatal error of a start hook by this function on the stack: under another name a failed hook ends the host's process.",
	},

	// Handlers of panics.
	{
		Ours:    "internal/containment/containment.go:contain",
		Package: "k8s.io/apimachinery/pkg/util/runtime", Decl: "handleCrash",
		Has: []string{
			"logger := klog.FromContext(ctx).WithCallDepth(4)", "ctx = klog.NewContext(ctx, logger)",
			"for _, fn := range PanicHandlers {", "fn(ctx, r)", "if ReallyCrash {", "panic(r)",
		},
		Look: "contain is the last of these handlers, finds the component by the logger of ctx, and ends the goroutine before the panic: else a panic of a component ends the host's process.",
	},
	{
		Ours:    "internal/containment/containment.go:init",
		Package: "k8s.io/apimachinery/pkg/util/runtime", Decl: "PanicHandlers",
		Has:  []string{"PanicHandlers = []func(context.Context, interface{}){logPanic}"},
		Look: "contain is appended, so that upstream logs the stack first.",
	},
	{
		Ours:    "internal/containment/containment.go:init",
		Package: "k8s.io/apimachinery/pkg/util/runtime", Decl: "PanicHandlers",
		Users: []string{"handleCrash"},
		Look:  "Only this function calls the handlers: see that the new one can end its goroutine.",
	},
	{
		Ours:    "internal/containment/containment.go:Sink",
		Package: "github.com/go-logr/logr", Decl: "Logger.WithCallDepth",
		Has:  []string{"withCallDepth, ok := l.sink.(CallDepthLogSink)", "l.setSink(withCallDepth.WithCallDepth(depth))"},
		Look: "contain asks the logger's sink whether it is ours: wrapped in another, a panic of a component ends the host's process.",
	},
	{
		Ours:    "internal/containment/containment.go:inRequest",
		Package: "k8s.io/apiserver/pkg/server/filters", Decl: "withPanicRecovery",
		Has: []string{"defer runtime.HandleCrash(", "handler.ServeHTTP(w, req)"}, Test: "internal/containment:TestPanicsOfRequestsAreCheap",
		Look: "inRequest knows a request by functions of k8s.io/apiserver on its stack: else a request that panics ends the component that sent it.",
	},

	// Stacks and profiles of Go.
	{
		Ours:    "internal/lifecycle/goroutines.go:AllGoroutines",
		Package: "runtime/pprof", Decl: "writeGoroutine",
		Test: "internal/lifecycle:TestGoroutineSetFindsGrandchildren", Exists: true,
		Look: "By labels in the goroutine profile a stop finds its goroutines, and a panic its component.",
	},
	{
		Ours:    "internal/containment/containment.go:callerLabels",
		Package: "runtime/pprof", Decl: "writeGoroutine",
		Exists: true, Test: "internal/klogbridge:TestFatalOfAPart",
		Look: "The function finds itself in the goroutine profile.",
	},
	{
		Ours:    "pkg/controlplanetest/panic.go:panicking",
		Package: "testing", Decl: "tRunner",
		Has: []string{"t.runCleanup(", "panic(err)"}, Test: "pkg/controlplanetest:TestPanic",
		Look: "panicking knows by the stack that package testing runs a cleanup because of a panic: else shared control planes are not stopped before the process ends.",
	},
	{
		Ours:    "pkg/controlplanetest/panic.go:panicking",
		Package: "runtime", Decl: "gopanic", Exists: true,
		Look: "panicking looks for this name on the stack.",
	},
	{
		Ours:    "pkg/controlplanetest/panic.go:panicking",
		Package: "runtime", Decl: "Goexit", Exists: true,
		Look: "panicking looks for this name on the stack.",
	},

	// Clocks.
	{
		Ours:    "internal/storage/clock.go:sharedClock.after",
		Package: "k8s.io/apiserver/pkg/storage/cacher", Decl: "NewTimer",
		Users: []string{"NewCacherFromConfig", "(*Cacher).dispatchEvents", "(*compactor).Run"}, // the first is time.NewTimer
		Look:  "The clock shortens timers below a second, which only the requests for progress have, and aligns longer ones: check the purpose of the new timer.",
	},
	{
		Ours:    "internal/storage/clock.go:sharedClock.after",
		Package: "k8s.io/apiserver/pkg/storage/cacher", Decl: "(*Cacher).dispatchEvents",
		Has:  []string{"bookmarkTimer := c.clock.NewTimer(wait.Jitter(time.Second, 0.25))"},
		Look: "The clock aligns this timer to full seconds: below a second it would be shortened to 5 ms, at the cost of the idle process.",
	},
	{
		Ours:    "internal/storage/clock.go:nearPeriod",
		Package: "k8s.io/apiserver/pkg/storage/cacher/progress", Decl: "(*ConditionalProgressRequester).Run",
		Has:  []string{"timer := pr.clock.NewTimer(progressRequestPeriod)", "case <-timer.C():", "timer.Reset(progressRequestPeriod)", "pr.requestWatchProgress(ctx)"},
		Look: "The clock shortens this timer, because etcd is near: without it each consistent list waits up to 100 ms.",
	},

	// Unexported fields and names of variables.
	{
		Ours:    "internal/e2e/kubectl_test.go:gitVersion",
		Package: "k8s.io/component-base/version", Decl: "gitVersion", Exists: true,
		Look: "The test sets it by go:linkname, as a build with stamps does.",
	},
	{
		Ours:    "pkg/controlplanetest/ginkgo.go:ginkgoSpecs",
		Package: "github.com/onsi/ginkgo/v2/internal", Decl: "NewSpecContext",
		Has:  []string{`context.WithValue(ctx, "GINKGO_SPEC_CONTEXT", sc)`},
		Look: "ginkgoSpecs finds the suite behind it: without it a failed spec is not named, and KeepOnFailure keeps too much or nothing.",
	},
	{
		Ours:    "pkg/controlplanetest/ginkgo.go:ginkgoSpecs",
		Package: "github.com/onsi/ginkgo/v2/internal", Decl: "specContext.suite", Has: []string{"*Suite"},
		Look: "ginkgoSpecs reads this field by its name.",
	},
	{
		Ours:    "pkg/controlplanetest/ginkgo.go:ginkgoSpecs",
		Package: "github.com/onsi/ginkgo/v2/internal", Decl: "Suite.report", Has: []string{"types.Report"},
		Look: "ginkgoSpecs reads this field by its name.",
	},
	{
		Ours:    "pkg/controlplanetest/ginkgo.go:ginkgoSpecs",
		Package: "github.com/onsi/ginkgo/v2/types", Decl: "Report.SpecReports", Exists: true,
		Look: "ginkgoSpecs reads this field by its name.",
	},
	{
		Ours:    "pkg/controlplanetest/ginkgo.go:ginkgoSpecs",
		Package: "github.com/onsi/ginkgo/v2/types", Decl: "SpecReport.ContainerHierarchyTexts", Exists: true,
		Look: "ginkgoSpecs reads this field by its name.",
	},
	{
		Ours:    "pkg/controlplanetest/ginkgo.go:ginkgoOK",
		Package: "github.com/onsi/ginkgo/v2/types", Decl: "SpecStatePassed",
		Has:  []string{"SpecStatePending SpecState = 1 << iota", "SpecStateSkipped", "SpecStatePassed"},
		Look: "ginkgoOK has the values of these constants: else specs count as failed that have not.",
	},

	// client-go's metrics.
	{
		Ours:    "internal/clientmetrics/clientmetrics.go:observe",
		Package: "k8s.io/client-go/tools/metrics", Decl: "RegisterOpts",
		Fields: []string{
			"ClientCertExpiry", "ClientCertRotationAge", "RequestLatency", "ResolverLatency", "RequestSize", "ResponseSize", "RateLimiterLatency", "RequestResult",
			"ExecPluginCalls", "ExecPluginPolicyCalls", "RequestRetry", "TransportCacheEntries", "TransportCreateCalls", "TransportCAReloads",
			"TransportCertRotationGCCalls", "TransportCacheGCCalls", "RegisterFn",
		},
		Test: "internal/clientmetrics:TestAsUpstream",
		Look: "observe sets a variable for each of them that kube-apiserver shows: a new one is missing in /metrics.",
	},
	{
		Ours:    "internal/clientmetrics/clientmetrics.go:isNoop",
		Package: "k8s.io/client-go/tools/metrics", Decl: "noopResult", Exists: true,
		Look: "isNoop knows client-go's placeholders as types of its package: else the metrics of another observer are silenced.",
	},
	{
		Ours:    "internal/clientmetrics/clientmetrics.go:Register",
		Package: "k8s.io/client-go/tools/metrics", Decl: "EnsureRegistered",
		Has: []string{"ensureRegisteredOnce.Do(ensureRegisteredFn)"}, Test: "internal/clientmetrics:TestProgramMayImportUpstream",
		Look: "Register has upstream's package register first: it panics if its names are taken.",
	},
	{
		Ours:    "internal/clientmetrics/clientmetrics.go:isUpstream",
		Package: "k8s.io/component-base/metrics/prometheus/restclient", Decl: "resultAdapter", Exists: true,
		Test: "internal/clientmetrics:TestProgramMayImportUpstream",
		Look: "isUpstream knows the package's observer by its import path: else requests are counted twice.",
	},

	// The encoding of objects.
	{
		Ours:    "internal/wire/protobuf.go:protobufPrefix",
		Package: "k8s.io/apimachinery/pkg/runtime/serializer/protobuf", Decl: "protoEncodingPrefix",
		Has:  []string{"[]byte{0x6b, 0x38, 0x73, 0x00}"},
		Look: "Objects in protobuf begin with it: bodies with another prefix are not measured, and their limits do not hold.",
	},
	{
		Ours:    "internal/wire/shape.go:isDocument",
		Package: "k8s.io/apimachinery/pkg/apis/meta/v1", Decl: "FieldsV1",
		Exists: true, Test: "internal/wire:TestDeepDocuments",
		Look: "isDocument knows by these names which bytes are decoded as JSON later: else deep documents pass.",
	},
	{
		Ours:    "internal/wire/shape.go:isDocument",
		Package: "k8s.io/apimachinery/pkg/runtime", Decl: "RawExtension.Raw", Has: []string{"[]byte"}, Test: "internal/wire:TestDeepDocuments",
		Look: "isDocument knows by these names which bytes are decoded as JSON later: else deep documents pass.",
	},
	{
		Ours:    "internal/wire/shape.go:isDocument",
		Package: "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", Decl: "JSON.Raw", Has: []string{"[]byte"}, Test: "internal/wire:TestDeepSchemas",
		Look: "isDocument knows by these names which bytes are decoded as JSON later: else deep documents pass.",
	},
}, selfEnding()...)

// selfEnding returns the entries of the goroutines that stops and leak tests ignore.
func selfEnding() []Entry {
	var all []Entry
	release := version.Lang(runtime.Version())
	for _, f := range selfending.Functions {
		if f.Since != "" && version.Compare(release, f.Since) < 0 || f.Before != "" && version.Compare(release, f.Before) >= 0 {
			continue
		}
		var has []string
		if f.Literal {
			has = []string{"go func() {"}
		}
		all = append(all, Entry{
			Ours: "internal/lifecycle/selfending/selfending.go:Functions", Package: f.Package, Decl: f.Name, Exists: true, Has: has,
			Look: "Find out which function has its goroutine now: under another name each stop waits for it, and reports it as a leak.",
		})
	}
	return all
}
