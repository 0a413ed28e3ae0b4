// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"reflect"
	"testing"

	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
)

// TestFlagDefaults: some defaults of kube-controller-manager are only in its flags.
// Without the default of node-eviction-rate the pods of a second failed node were never
// evicted, and often not the pods of the first.
func TestFlagDefaults(t *testing.T) {
	settings, err := Config{}.settings()
	if err != nil {
		t.Fatal(err)
	}
	if n := settings.NodeLifecycleController; n.NodeEvictionRate <= 0 {
		t.Errorf("got a node eviction rate of %v per second, want 0.1", n.NodeEvictionRate)
	}
	if n := len(settings.GarbageCollectorController.GCIgnoredResources); n != len(garbagecollector.DefaultIgnoredResources()) {
		t.Errorf("got %d ignored resources", n)
	}
	upstream, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		t.Fatal(err)
	}
	upstream.Flags(nil, nil, nil) // sets the defaults
	ours := reflect.ValueOf(*settings)
	compared := 0
	all := reflect.ValueOf(*upstream)
	for _, option := range all.Fields() {
		if option.Kind() != reflect.Pointer || option.IsNil() || option.Elem().Kind() != reflect.Struct || option.Elem().NumField() == 0 {
			continue
		}
		// Each embeds the part of the configuration that it sets.
		theirs := option.Elem().Field(0)
		if theirs.Kind() != reflect.Pointer || theirs.IsNil() {
			continue
		}
		for j := range ours.NumField() {
			if ours.Field(j).Type() != theirs.Type().Elem() {
				continue
			}
			compared++
			name := ours.Type().Field(j).Name
			for k := range ours.Field(j).NumField() {
				field := ours.Field(j).Type().Field(k).Name
				switch name + "." + field {
				case "KubeCloudShared.AllocateNodeCIDRs", // Config.PodCIDR
					"NodeLifecycleController.NodeMonitorPeriod",     // nodeMonitorPeriod
					"Generic.LeaderElection",                        // the control plane elects
					"GarbageCollectorController.GCIgnoredResources": // in any order
					continue
				}
				if a, b := ours.Field(j).Field(k).Interface(), theirs.Elem().Field(k).Interface(); !reflect.DeepEqual(a, b) {
					t.Errorf("%s.%s: got %v, want upstream's %v", name, field, a, b)
				}
			}
		}
	}
	if compared < 15 {
		t.Errorf("compared only %d parts of the configuration: upstream's options have changed", compared)
	}
}
