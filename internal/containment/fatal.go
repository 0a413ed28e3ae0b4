// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"runtime"

	"github.com/kubembed/kubembed/internal/callstack"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Fatal is an error for which upstream ends the process.
type Fatal struct{ Message string }

func (f *Fatal) Error() string { return "fatal error of the Kubernetes code: " + f.Message }

// GiveUp replaces the end of the process. Within Call it panics, and Call returns fatal.
// On another goroutine of a part, it fails the part and ends the goroutine. It returns on
// a goroutine that belongs to no part. It must not log through klog, which may hold its
// lock.
func GiveUp(fatal *Fatal) {
	if withinCall() {
		panic(fatal)
	}
	if fail := parts.failOfCaller(); fail != nil {
		fail(fatal)
		runtime.Goexit()
	}
}

// Watch makes the goroutines of a set a part, except goroutines that Do has given to
// another part. It calls fail when one of them panics or gives up, until forget is
// called.
func Watch(set *lifecycle.GoroutineSet, fail func(error)) (forget func()) {
	parts.addSet(set, fail)
	return func() { parts.removeSet(set) }
}

// call begins the symbols of the instances of Call.
const call = "github.com/kubembed/kubembed/internal/containment.Call["

func withinCall() bool { return callstack.HasPrefix(call) }
