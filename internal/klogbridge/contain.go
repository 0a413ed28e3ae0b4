package klogbridge

import (
	"runtime"
	"strings"

	"k8s.io/klog/v2"
)

// hookFunction is the function of upstream that ends the process when a start
// hook returns an error.
const hookFunction = "k8s.io/apiserver/pkg/server.runPostStartHook"

// klog.OsExit is a variable without a lock, so that it is set before anything
// runs. For every caller but a start hook of an API server it is as before.
func init() {
	exit := klog.OsExit
	klog.OsExit = func(code int) {
		if contain() {
			runtime.Goexit()
		}
		exit(code)
	}
}

// contain reports whether a fatal error is a start hook's. The hook's readiness
// check then stays red, which is what fails the start, or is seen by whoever
// watches /readyz; the process goes on.
func contain() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, hookFunction) {
			return true
		}
		if !more {
			return false
		}
	}
}
