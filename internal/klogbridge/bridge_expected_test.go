// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge_test

import (
	"errors"
	"slices"
	"testing"

	"go.uber.org/zap/zapcore"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/klogbridge"
)

// TestExpectedLines: lines that upstream writes when nothing is wrong are at debug level,
// and similar lines are not.
func TestExpectedLines(t *testing.T) {
	for _, line := range []struct {
		log  func()
		want string
	}{
		{func() { klog.Warning("Skipping API apps/v1beta1 because it has no resources.") }, "debug"},
		{func() { klog.Warning("Skipping API apps/v1beta1 because of a fault") }, "info"},
		{func() { klog.ErrorS(nil, "SPDY upgrade failed", "status", "501 Not Implemented") }, "debug"},
		{func() { klog.ErrorS(nil, "SPDY upgrade failed", "status", "404 Not Found") }, "debug"},
		{func() { klog.ErrorS(nil, "SPDY upgrade failed", "status", "500 Internal Server Error") }, "warn"},
		{func() { klog.ErrorS(errors.New("use of closed network connection"), "Error on socket receive") }, "debug"},
		{func() { klog.ErrorS(errors.New("client disconnected"), "Failed to encode watch event") }, "debug"},
		{func() { klog.ErrorS(errors.New("unable to encode watch object"), "Failed to encode watch event") }, "warn"},
		{func() {
			klog.ErrorS(errors.New("read: connection reset by peer"), "Error proxying data from client to backend")
		}, "debug"},
		{func() {
			klog.ErrorS(errors.New("tls: bad record MAC"), "Error proxying data from client to backend")
		}, "warn"},
		{func() {
			utilruntime.HandleError(errors.New(`sync "default/web" failed with read version: 1 is not as new as written version: 2 for group resource replicasets.apps`))
		}, "debug"},
		{func() { utilruntime.HandleError(errors.New(`sync "default/web" failed with quota exceeded`)) }, "warn"},
		{func() {
			klog.ErrorS(errors.New("read version: 1 is not as new as written version: 2 for group resource pods"), "Error syncing StatefulSet, requeuing")
		}, "debug"},
		{func() {
			klog.ErrorS(errors.New("Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to the latest version and try again"), "Error syncing")
		}, "debug"},
		{func() {
			klog.ErrorS(errors.New("Operation cannot be fulfilled on pods \"a\": it is another"), "Error syncing")
		}, "warn"},
		{func() {
			klog.ErrorS(errors.New("duplicate metrics collector registration attempted"), "unable to register metrics")
		}, "debug"},
		{func() { klog.ErrorS(errors.New("it has no name"), "unable to register metrics") }, "warn"},
		{func() {
			utilruntime.HandleError(errors.New(`ns/ds failed with : failed to construct revisions of DaemonSet: controllerrevisions.apps "ds-1" is forbidden: unable to create new content in namespace ns because it is being terminated`))
		}, "debug"},
		{func() {
			klog.ErrorS(errors.New(`pods "st-0" is forbidden: unable to create new content in namespace ns because it is being terminated`), "Error syncing StatefulSet, requeuing")
		}, "debug"},
		{func() {
			klog.ErrorS(errors.New(`pods "st-0" is forbidden: exceeded quota`), "Error syncing StatefulSet, requeuing")
		}, "warn"},
		{func() { klog.Error("the client said: Error on socket receive") }, "warn"},
		{func() { klog.ErrorS(errors.New("get: context canceled"), "Failed to list") }, "debug"},
		{func() { klog.ErrorS(nil, "Failed to list", "last", "context canceled") }, "warn"},
	} {
		logger, logs := observed(zapcore.DebugLevel)
		detach := klogbridge.Attach(logger)
		line.log()
		_ = detach()
		if got := messages(logs); len(got) != 1 || !slices.Equal([]string{logs.All()[0].Level.String()}, []string{line.want}) {
			t.Errorf("got %q, want level %s", got, line.want)
		}
	}
}

// TestStopIsQuiet: upstream logs errors about connections that a stop has cut. The logger
// of the stopping control plane gets none of them. The other loggers get the lines that
// may be about their own control planes.
func TestStopIsQuiet(t *testing.T) {
	first, firstLogs := observed(zapcore.DebugLevel)
	second, secondLogs := observed(zapcore.DebugLevel)
	detachFirst, stopping := klogbridge.AttachUntilStop(first)
	detachSecond := klogbridge.Attach(second)
	klog.Error("before")
	stopping()
	klog.Error("Unable to sync caches")
	klog.Warning("a warning")
	_ = detachFirst()
	stopping() // again
	klog.Error("Unable to sync caches")
	_ = detachSecond()
	if got, want := messages(firstLogs), []string{"warn before", "debug Unable to sync caches", "debug a warning"}; !slices.Equal(got, want) {
		t.Errorf("first: got %q, want %q", got, want)
	}
	if got, want := messages(secondLogs), []string{"warn before", "debug Unable to sync caches", "info a warning", "warn Unable to sync caches"}; !slices.Equal(got, want) {
		t.Errorf("second: got %q, want %q", got, want)
	}
}
