// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"
)

func TestSelectControllers(t *testing.T) {
	workloadNames := []string{
		"cronjob-controller", "daemonset-controller", "deployment-controller", "disruption-controller", "endpoints-controller",
		"endpointslice-controller", "endpointslice-mirroring-controller", "ephemeral-volume-controller",
		"horizontal-pod-autoscaler-controller", "job-controller", "persistentvolume-protection-controller",
		"persistentvolumeclaim-protection-controller", "replicaset-controller", "replicationcontroller-controller",
		"statefulset-controller", "ttl-after-finished-controller",
	}
	nodeNames := []string{"node-lifecycle-controller", "taint-eviction-controller", "ttl-controller"}
	all := slices.DeleteFunc(Names(), func(name string) bool { return name == nodeIPAM || name == "selinux-warning-controller" })
	without := func(names []string, gone ...string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(gone, name) })
	}
	for name, c := range map[string]struct {
		items []string
		ipam  bool
		want  []string
	}{
		"nothing":          {nil, false, all},
		"nothing but IPAM": {nil, true, append(slices.Clone(all), nodeIPAM)},
		"workloads":        {[]string{Workloads}, true, workloadNames},
		"nodes":            {[]string{Nodes}, false, nodeNames},
		"nodes with IPAM":  {[]string{Nodes}, true, append(slices.Clone(nodeNames), nodeIPAM)},
		"two sets":         {[]string{Workloads, Nodes}, false, append(slices.Clone(workloadNames), nodeNames...)},
		"aliases":          {[]string{"deployment", "replicaset-controller", "deployment"}, false, []string{"deployment-controller", "replicaset-controller"}},
		"left out":         {[]string{"-deployment", Workloads}, false, without(workloadNames, "deployment-controller")},
		"left out of all":  {[]string{"-nodelifecycle", "-job-controller"}, false, without(all, "node-lifecycle-controller", "job-controller")},
		"off by default":   {[]string{"selinux-warning-controller"}, false, []string{"selinux-warning-controller"}},
		"in and out":       {[]string{"job", "-job"}, false, nil},
	} {
		selected, errs := selectControllers(c.items, c.ipam)
		if len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
		var got []string
		for _, controller := range selected {
			got = append(got, controller.name)
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got\n%q, want\n%q", name, got, c.want)
		}
	}
}
