// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package scheduler_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"

	"github.com/kubembed/kubembed/pkg/components/scheduler"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestProfilesHaveOwnNamesAndPlugins(t *testing.T) {
	config, client := start(t, controlplane.Config{})
	createNode(t, client, newNode("full", "4"))
	run(t, config, scheduler.New(scheduler.Config{Configuration: parse(t, `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy:
        type: MostAllocated
        resources: [{name: cpu, weight: 1}]
  plugins:
    multiPoint:
      disabled: [{name: NodeResourcesBalancedAllocation}]
`)}))
	createPod(t, client, newPod("first", "2"))
	nodeOf(t, client, "first")
	createNode(t, client, newNode("empty", "4"))
	// Its placement shows that the scheduler knows the node.
	probe := newPod("probe", "0")
	probe.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "empty"}
	createPod(t, client, probe)
	nodeOf(t, client, "probe")

	other, packed := newPod("other", "1"), newPod("packed", "1")
	other.Spec.SchedulerName = "somebody-else"
	packed.Spec.SchedulerName = "packer"
	createPod(t, client, other)
	createPod(t, client, newPod("spread", "1"))
	if node := nodeOf(t, client, "spread"); node != "empty" {
		t.Errorf("the default profile chose %s, want the emptier node", node)
	}
	createPod(t, client, packed)
	if node := nodeOf(t, client, "packed"); node != "full" {
		t.Errorf("the packing profile chose %s, want full", node)
	}
	if event := wantEvent(t, client, "packed", "Scheduled"); event.ReportingController != "packer" {
		t.Errorf("the event is from %q, want packer", event.ReportingController)
	}
	list, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=other"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Spec.NodeName != "" {
		t.Errorf("the pod of another scheduler: %v %+v", err, list.Items)
	}
}

// only is a plugin that admits pods on one node only.
type only struct{ node string }

func (only) Name() string { return "Only" }

func (o only) Filter(_ context.Context, _ fwk.CycleState, _ *corev1.Pod, node fwk.NodeInfo) *fwk.Status {
	if node.Node().Name != o.node {
		return fwk.NewStatus(fwk.Unschedulable, "not the only node")
	}
	return nil
}

func newOnly(_ context.Context, args runtime.Object, _ fwk.Handle) (fwk.Plugin, error) {
	var c struct {
		Node string `json:"node"`
	}
	if err := frameworkruntime.DecodeInto(args, &c); err != nil {
		return nil, err
	}
	return only{c.Node}, nil
}

func TestOutOfTreePlugin(t *testing.T) {
	config, client := start(t, controlplane.Config{})
	for _, node := range []string{"a", "b", "c"} {
		createNode(t, client, newNode(node, "8"))
	}
	configuration := &configv1.KubeSchedulerConfiguration{Profiles: []configv1.KubeSchedulerProfile{{
		Plugins:      &configv1.Plugins{Filter: configv1.PluginSet{Enabled: []configv1.Plugin{{Name: "Only"}}}},
		PluginConfig: []configv1.PluginConfig{{Name: "Only", Args: runtime.RawExtension{Raw: []byte(`{"node": "b"}`)}}},
	}}}
	s := scheduler.New(scheduler.Config{Configuration: configuration, Plugins: frameworkruntime.Registry{"Only": newOnly}})
	configuration.Profiles = nil // New has copied it
	run(t, config, s)
	for _, name := range []string{"one", "two", "three"} {
		createPod(t, client, newPod(name, "1"))
		if node := nodeOf(t, client, name); node != "b" {
			t.Errorf("%s is on %s", name, node)
		}
	}
}

func TestValidateRejectsInvalidConfiguration(t *testing.T) {
	yes, negative := true, int32(-1)
	for name, c := range map[string]struct {
		config scheduler.Config
		want   []string
	}{
		"values": {
			scheduler.Config{Configuration: &configv1.KubeSchedulerConfiguration{Parallelism: &negative, PercentageOfNodesToScore: &negative}},
			[]string{"scheduler: invalid Config.Configuration", "parallelism: Invalid value: -1", "percentageOfNodesToScore: Invalid value: -1"},
		},
		"names": {
			scheduler.Config{Configuration: &configv1.KubeSchedulerConfiguration{Profiles: []configv1.KubeSchedulerProfile{{}, {}}}},
			[]string{"profiles[0].schedulerName: Required value", "profiles[1].schedulerName: Required value"},
		},
		"of a process": {
			func() scheduler.Config {
				c := &configv1.KubeSchedulerConfiguration{Parallelism: &negative}
				c.LeaderElection.LeaderElect = &yes
				c.ClientConnection.Kubeconfig = "/etc/kubernetes/scheduler.conf"
				return scheduler.Config{Configuration: c}
			}(),
			[]string{"leaderElection.leaderElect: Forbidden", "clientConnection.kubeconfig: Forbidden", "omit it", "parallelism: Invalid value"},
		},
		"an election": {
			func() scheduler.Config {
				c := &configv1.KubeSchedulerConfiguration{}
				c.LeaderElection.LeaderElect = &yes
				return scheduler.Config{Configuration: c}
			}(),
			[]string{"leaderElection.leaderElect: Forbidden"},
		},
		"arguments": {
			scheduler.Config{Configuration: parse(t, `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- pluginConfig:
  - name: InterPodAffinity
    args: {hardPodAffinityWait: 1}
`)},
			[]string{"profiles[0].pluginConfig[0]", "InterPodAffinity", `unknown field "hardPodAffinityWait"`},
		},
		"version": {
			func() scheduler.Config {
				c := &configv1.KubeSchedulerConfiguration{}
				c.APIVersion = "kubescheduler.config.k8s.io/v1beta3"
				return scheduler.Config{Configuration: c}
			}(),
			[]string{"v1beta3"},
		},
		"plugins": {
			scheduler.Config{Plugins: frameworkruntime.Registry{"NodeName": newOnly}},
			[]string{"scheduler: invalid Config.Plugins", "NodeName already exists"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := scheduler.New(c.config).Validate()
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want an error that contains %q", err, want)
				}
			}
			if err == nil {
				return
			}
			ran := scheduler.New(c.config).Run(t.Context(), &rest.Config{}, func() { t.Error("ready") })
			if ran == nil || ran.Error() != err.Error() {
				t.Errorf("Run: got %v, want the same error", ran)
			}
		})
	}
}

func TestRunRejectsUnknownPlugin(t *testing.T) {
	config, _ := start(t, controlplane.Config{})
	s := scheduler.New(scheduler.Config{Configuration: &configv1.KubeSchedulerConfiguration{Profiles: []configv1.KubeSchedulerProfile{{
		Plugins: &configv1.Plugins{Filter: configv1.PluginSet{Enabled: []configv1.Plugin{{Name: "Nowhere"}}}},
	}}}})
	err := s.Run(t.Context(), config, func() { t.Error("ready") })
	if err == nil || !strings.Contains(err.Error(), "Config.Configuration") || !strings.Contains(err.Error(), `"Nowhere" does not exist`) {
		t.Error(err)
	}
}

func TestParseConfiguration(t *testing.T) {
	for data, want := range map[string]string{
		"apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nparalellism: 3": `unknown field "paralellism"`,
		"apiVersion: v1\nkind: Pod": `no kind "Pod"`,
		"parallelism: 3":            "'Kind' is missing",
	} {
		if _, err := scheduler.ParseConfiguration([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", data, err, want)
		}
	}
}

func parse(t *testing.T, data string) *configv1.KubeSchedulerConfiguration {
	t.Helper()
	c, err := scheduler.ParseConfiguration([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
