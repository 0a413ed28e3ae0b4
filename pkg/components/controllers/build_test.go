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

// soon is long before the start gives up, which it does after two minutes.
const soon = 60 * time.Second

// TestWhatIsNotServedFailsTheStart: a component that needs an API that is switched off was
// waited for in silence for two minutes.
func TestWhatIsNotServedFailsTheStart(t *testing.T) {
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
				t.Fatal("it starts")
			}
			for _, want := range append(c.want, "RuntimeConfig", "does not serve") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %v, want %q in it", err, want)
				}
			}
			if took := time.Since(begin); took > soon {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestControllersOfASetAreLeftOut where what they work on is not served, and the log says
// which.
func TestControllersOfASetAreLeftOut(t *testing.T) {
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
		t.Errorf("%v", logs.All())
	}
}

// TestComponentsLogToTheControlPlane when they have no Logger of their own: under their
// name.
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
		t.Errorf("one with a Logger of its own logs elsewhere: %v", ownLogs.All())
	}
}

// TestValidateOfComponents: mistakes in one are reported before anything starts.
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
			t.Errorf("the error is %v, want %q in it", err, want)
		}
	}
}
