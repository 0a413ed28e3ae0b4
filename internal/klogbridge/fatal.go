// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge

import (
	"runtime"

	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/callstack"
	"github.com/kubembed/kubembed/internal/containment"
)

// hook is the upstream function that ends the process when a start hook returns an error.
const hook = "k8s.io/apiserver/pkg/server.runPostStartHook"

// contained are prefixes of upstream functions whose fatal errors end only their
// goroutine, and neither the process nor the part.
var contained []string

// Contain adds a prefix to contained. Only init functions may call it.
func Contain(function string) { contained = append(contained, function) }

// klog.OsExit is a variable without a lock, so it is set before anything runs. Goroutines
// of the host see no difference.
func init() {
	exit := klog.OsExit
	klog.OsExit = func(code int) {
		giveUp("its text is in the log of klog")
		if callstack.HasPrefix(hook) || callstack.HasPrefix(contained...) {
			runtime.Goexit()
		}
		process.flush() // klog holds no lock here
		exit(code)
	}
}

// giveUp returns if the calling goroutine belongs to no part of a control plane. When the
// bridge calls it, klog holds its lock, and releases it as the goroutine ends. The stack
// that klog prints afterwards is not printed.
func giveUp(message string) {
	if !callstack.HasPrefix(contained...) {
		containment.GiveUp(&containment.Fatal{Message: message})
	}
}
