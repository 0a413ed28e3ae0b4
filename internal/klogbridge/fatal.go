package klogbridge

import (
	"runtime"
	"slices"
	"strings"

	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/containment"
)

// hook is the function of upstream that ends the process when a start hook returns an
// error.
const hook = "k8s.io/apiserver/pkg/server.runPostStartHook"

// contained begin the names of functions of upstream whose fatal errors end
// their goroutine, and neither the process nor the part that they belong to.
var contained []string

// Contain adds to them. Only init functions may call it.
func Contain(function string) { contained = append(contained, function) }

// klog.OsExit is a variable without a lock, so that it is set before anything
// runs. For every goroutine of the host it is as before.
func init() {
	exit := klog.OsExit
	klog.OsExit = func(code int) {
		giveUp("its text is in the log of klog")
		if calledBy(hook) || calledBy(contained...) {
			runtime.Goexit()
		}
		process.flush() // klog holds no lock here
		exit(code)
	}
}

// giveUp returns if the calling goroutine is not of a part of a control plane. As the
// bridge calls it, klog holds its lock, and releases it as the goroutine ends; the stack
// that klog prints afterwards is not printed.
func giveUp(message string) {
	if !calledBy(contained...) {
		containment.GiveUp(&containment.Fatal{Message: message})
	}
}

// calledBy reports whether one of the functions is on the stack.
func calledBy(functions ...string) bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if slices.ContainsFunc(functions, func(function string) bool { return strings.HasPrefix(frame.Function, function) }) {
			return true
		}
		if !more {
			return false
		}
	}
}
