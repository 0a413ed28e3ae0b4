// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/components/hollownode"
	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// earlyFailure is well before the timeout of the start, which is two minutes.
const earlyFailure = 60 * time.Second

// TestUnservedResourceFailsStart: the start waited silently for two minutes for a
// component that needs a disabled API.
func TestUnservedResourceFailsStart(t *testing.T) {
	off := func(names ...string) map[string]string {
		config := map[string]string{}
		for _, name := range names {
			config[name] = "false"
		}
		return config
	}
	for _, c := range []struct {
		name      string
		runtime   map[string]string
		component controlplane.Component
		want      []string
	}{
		{"scheduler, group version", off("apps/v1"), scheduler.New(scheduler.Config{}), []string{"component scheduler: ", "apps/v1/replicasets", "apps/v1/statefulsets"}},
		{"scheduler, resource", off("policy/v1/poddisruptionbudgets"), scheduler.New(scheduler.Config{}), []string{"component scheduler: ", "policy/v1/poddisruptionbudgets"}},
		{"hollownode, heartbeats", off("coordination.k8s.io/v1"), hollownode.New(hollownode.Config{}), []string{"component hollownode: ", "coordination.k8s.io/v1/leases"}},
		{"hollownode, nodes", off("v1/nodes"), hollownode.New(hollownode.Config{}), []string{"component hollownode: ", "v1/nodes"}},
		{"controller by name", off("apps/v1"), controllers.New(controllers.Config{Controllers: []string{"deployment"}}),
			[]string{"component controllers: ", "deployment-controller", "apps/v1/deployments"}},
		{"controller beside a set", off("batch/v1/cronjobs"), controllers.New(controllers.Config{Controllers: []string{controllers.Nodes, "cronjob-controller"}}),
			[]string{"component controllers: ", "cronjob-controller", "batch/v1/cronjobs"}},
		{"every one of a set", off("v1/nodes"), controllers.New(controllers.Config{Controllers: []string{controllers.Nodes}}), []string{"component controllers: ", "v1/nodes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			server, err := controlplane.Start(t.Context(), controlplane.Config{RuntimeConfig: c.runtime, Components: []controlplane.Component{c.component}})
			if err == nil {
				_ = server.Close()
				t.Fatal("the control plane started")
			}
			for _, want := range append(c.want, "RuntimeConfig", "does not serve") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want %q in it", err, want)
				}
			}
			if elapsed := time.Since(begin); elapsed > earlyFailure {
				t.Errorf("the start failed after %s, want at most %s", elapsed, earlyFailure)
			}
		})
	}
}

// TestUnservedControllersOfSetAreSkipped: controllers of a set whose resources are not
// served are skipped, with a line in the log.
func TestUnservedControllersOfSetAreSkipped(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	server, err := controlplane.Start(t.Context(), controlplane.Config{
		RuntimeConfig: map[string]string{"batch/v1/cronjobs": "false"}, Logger: zap.New(core),
		Components: []controlplane.Component{controllers.New(controllers.Config{Controllers: []string{controllers.Workloads}})},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if n := logs.FilterField(zap.String("controller", "cronjob-controller")).Len(); n != 1 {
		t.Errorf("got %v, want a line about cronjob-controller", logs.All())
	}
}

// TestComponentsLogToTheControlPlane: components without a Logger log to the control
// plane under their names.
func TestComponentsLogToTheControlPlane(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	own, ownLogs := observer.New(zapcore.DebugLevel)
	server, err := controlplane.Start(t.Context(), controlplane.Config{Logger: zap.New(core).Named("host"), Components: []controlplane.Component{
		hollownode.New(hollownode.Config{}), hollownode.New(hollownode.Config{Name: "others", NamePrefix: "other-", Logger: zap.New(own)}),
		controllers.New(controllers.Config{}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	count := func(logs *observer.ObservedLogs, name string) (n int) {
		for _, entry := range logs.All() {
			if entry.LoggerName == name || strings.HasPrefix(entry.LoggerName, name+".") {
				n++
			}
		}
		return n
	}
	for _, name := range []string{"host.hollownode", "host.controllers"} {
		if count(logs, name) == 0 {
			t.Errorf("nothing is logged as %s", name)
		}
	}
	if count(logs, "host.others") > 0 || ownLogs.FilterMessage("nodes are ready").Len() != 1 {
		t.Errorf("the component with a Logger does not log to it: %v", ownLogs.All())
	}
}

// TestValidateOfComponents: Validate of the control plane reports invalid components.
func TestValidateOfComponents(t *testing.T) {
	err := controlplane.Config{Components: []controlplane.Component{
		scheduler.New(scheduler.Config{}),
		hollownode.New(hollownode.Config{Count: -1, LeaseDuration: -time.Second}),
		controllers.New(controllers.Config{Controllers: []string{"deploymint"}}),
	}}.Validate()
	for _, want := range []string{
		"Components[1] (hollownode): Count: Invalid value: -1",
		"Components[1] (hollownode): LeaseDuration: ",
		"Components[2] (controllers): Controllers[0]: Invalid value: \"deploymint\"",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q in it", err, want)
		}
	}
}
