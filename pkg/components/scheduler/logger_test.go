// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"

	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestLogsToTheControlPlane: without a Logger of its own the scheduler logs to the
// control plane under its name.
func TestLogsToTheControlPlane(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	start(t, controlplane.Config{Logger: zap.New(core).Named("host"), Components: []controlplane.Component{scheduler.New(scheduler.Config{
		Configuration: &configv1.KubeSchedulerConfiguration{Profiles: []configv1.KubeSchedulerProfile{{
			Plugins: &configv1.Plugins{Filter: configv1.PluginSet{Enabled: []configv1.Plugin{{Name: "Gate"}}}},
		}}},
		Plugins: frameworkruntime.Registry{"Gate": func(ctx context.Context, _ runtime.Object, _ fwk.Handle) (fwk.Plugin, error) {
			klog.FromContext(ctx).Error(errors.New("the cause"), "a plugin says", "key", "value")
			return plain{gate{new(atomic.Bool)}}, nil
		}},
	})}})
	lines := logs.FilterMessage("a plugin says").All()
	if len(lines) != 1 || lines[0].LoggerName != "host.scheduler" || lines[0].Level != zapcore.WarnLevel || lines[0].ContextMap()["key"] != "value" {
		t.Errorf("%v", lines)
	}
}

// plain is a gate without events.
type plain struct{ gate }

func (plain) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) { return nil, nil }
