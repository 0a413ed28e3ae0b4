package lifecycle

import (
	"slices"
	"strings"
)

// Function is a function of another module, or of Go.
type Function struct {
	Package string // import path
	Name    string // Func, T.Method or (*T).Method
	Why     string
}

// SelfEnding are functions whose goroutines nothing here can stop, and that no stop waits
// for. Package upstream tests that they exist.
var SelfEnding = []Function{
	{
		"k8s.io/apiserver/pkg/storage/cacher", "(*watchCache).waitUntilFreshAndBlock",
		"the API server has a timer of three seconds for each list at a resource version, and has started it for a request in this process",
	},
	{
		"k8s.io/kubernetes/pkg/volume/csi", "(*csiAttacher).Attach",
		"it waits until a CSI driver has attached, for two minutes at most",
	},
	{
		"k8s.io/kubernetes/pkg/volume/csi", "(*csiAttacher).Detach",
		"it waits until a CSI driver has detached, for two minutes at most",
	},
	{
		"k8s.io/kubernetes/pkg/volume/util/recyclerclient", "internalRecycleVolumeByWatchingPodUntilCompletion",
		"it waits for the pod that empties a volume, for as long as that may run",
	},
	{
		"k8s.io/kubernetes/pkg/scheduler/metrics", "(*MetricAsyncRecorder).run",
		"it sleeps for a second, and only then looks whether it should stop",
	},
	{
		"os/signal", "loop",
		"it is the process's own, started by the first who wants a signal",
	},
	{
		"net/http", "(*persistConn).readLoop",
		"connections to webhooks and extenders, which client-go keeps until they are idle for 90 s",
	},
	{"net/http", "(*persistConn).writeLoop", "the same"},
	{"net/http", "(*http2ClientConn).readLoop", "the same, over HTTP/2"},
	{"golang.org/x/net/http2", "(*ClientConn).readLoop", "the same, over HTTP/2"},
	{
		"net/http", "(*connReader).backgroundRead",
		"connections of other members, on which they have asked single questions; etcd ends them when nothing has been read for five seconds",
	},
	{"net/http", "(*connReader).abortPendingRead", "the same"},
	{
		"gopkg.in/natefinch/lumberjack.v2", "(*Logger).millRun",
		"the rotation of audit logs has one goroutine, for ever",
	},
}

// Symbol is the function's name on a stack, where the last element of the import path has
// its dots escaped.
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

func selfEnding(stack []string) bool {
	return slices.ContainsFunc(SelfEnding, func(f Function) bool { return f.On(stack) })
}
