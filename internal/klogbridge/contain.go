package klogbridge

import (
	"runtime"
	"slices"
	"strings"

	"k8s.io/klog/v2"
)

// contained begin the names of functions of upstream whose fatal errors end
// their goroutine and not the process. The first ends the process when a start
// hook returns an error.
var contained = []string{"k8s.io/apiserver/pkg/server.runPostStartHook"}

// Contain adds to them. Only init functions may call it.
func Contain(function string) { contained = append(contained, function) }

// klog.OsExit is a variable without a lock, so that it is set before anything
// runs. For every caller but the contained it is as before.
func init() {
	exit := klog.OsExit
	klog.OsExit = func(code int) {
		if contain() {
			runtime.Goexit()
		}
		process.flush() // klog holds no lock here
		exit(code)
	}
}

// contain reports whether a fatal error is one that is contained. A hook's
// readiness check then stays red, which is what fails the start, or is seen by
// whoever watches /readyz; the process goes on.
func contain() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if slices.ContainsFunc(contained, func(function string) bool { return strings.HasPrefix(frame.Function, function) }) {
			return true
		}
		if !more {
			return false
		}
	}
}
