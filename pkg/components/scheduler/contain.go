package scheduler

import (
	"errors"
	"runtime"
	"strings"

	"k8s.io/klog/v2"
)

const (
	// cacheFunction begins the names of the functions that end the process when
	// a pod that was on one node is seen on another, which no API server allows:
	// the database was replaced under a running scheduler.
	cacheFunction = "k8s.io/kubernetes/pkg/scheduler/backend/cache.(*cacheImpl)."

	// cacheCorrupted is what they log before.
	cacheCorrupted = "Scheduler cache is corrupted"
)

var errCacheCorrupted = errors.New("a pod has moved from one node to another, as after a restore of the database: start again")

// klog.OsExit is a variable without a lock, so that it is set before anything
// runs. For every other caller it is as before.
func init() {
	exit := klog.OsExit
	klog.OsExit = func(code int) {
		if contain() {
			runtime.Goexit()
		}
		exit(code)
	}
}

// contain reports whether a scheduler's cache is what wants the process to end.
// Its logger has ended the run by then.
func contain() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, cacheFunction) {
			return true
		}
		if !more {
			return false
		}
	}
}
