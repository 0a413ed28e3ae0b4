// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	configv1alpha1 "k8s.io/kube-controller-manager/config/v1alpha1"
	"k8s.io/kubernetes/pkg/controller/apis/config/v1alpha1"

	"github.com/kubembed/kubembed/internal/golden"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// managerDiffers lists all differences between the default controllers and settings of
// kube-controller-manager and of this package.
var managerDiffers = []golden.Difference{
	{
		File: golden.Checks,
		Lines: `-(certificatesigningrequest-(approving|cleaner|signing)|clusterrole-aggregation|garbage-collector|legacy-serviceaccount-token-cleaner|` +
			`namespace|pod-garbage-collector|resourcequota|root-ca-certificate-publisher|serviceaccount|serviceaccount-token|storage-version-migrator)-controller on`,
		Reason: "every control plane runs it itself",
	},
	{
		File: golden.Checks, Lines: `-(bootstrap-signer|token-cleaner)-controller off`,
		Reason: "off there by default too, and not in this package",
	},
	{
		File: golden.Checks, Lines: `\+node-ipam-controller off`,
		Reason: "both have it when ranges are set, there by --allocate-node-cidrs and here by Config.PodCIDR; there it is not listed before",
	},
	{
		File: golden.Settings, Lines: `[-+].*\.Generic\..*`,
		Reason: "settings of upstream's command, which this package does not have: its clients, leader election, profiles and flags",
	},
	{
		File: golden.Settings, Lines: `[-+].*\.(ClusterSigningCertFile|ClusterSigningKeyFile|RootCAFile|ServiceAccountKeyFile) .*`,
		Reason: "the keys come from memory",
	},
	{
		File: golden.Settings, Lines: `[-+].*\.ServiceController\.ConcurrentServiceSyncs .*`,
		Reason: "a controller that needs a cloud provider, and runs in neither",
	},
	{
		File: golden.Settings, Lines: `[-+].*\.NodeLifecycleController\.NodeMonitorPeriod .*`,
		Reason: "nodes are read from memory, see nodeMonitorPeriod",
	},
	{
		File: golden.Settings, Lines: `-.*\.(apiVersion|kind) .*`,
		Reason: "written by upstream's encoder",
	},
}

// TestControllersAndSettingsOfKubeControllerManager compares with the real
// kube-controller-manager.
func TestControllersAndSettingsOfKubeControllerManager(t *testing.T) {
	cfg := Config{}.clone()
	settings, err := cfg.settings()
	if err != nil {
		t.Fatal(err)
	}
	var served configv1alpha1.KubeControllerManagerConfiguration // as upstream serves them at /configz
	if err := v1alpha1.Convert_config_KubeControllerManagerConfiguration_To_v1alpha1_KubeControllerManagerConfiguration(settings, &served, nil); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"kubecontrollermanager.config.k8s.io": served})
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	ours := golden.Lines{golden.Settings: golden.Leaves(tree)}
	selected, errs := selectControllers(nil, false)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, c := range catalogue() {
		state := " off"
		if _, off := c.gated(); !off && slices.ContainsFunc(selected, func(d controller) bool { return d.name == c.name }) {
			state = " on"
		}
		ours[golden.Checks] = append(ours[golden.Checks], c.name+state)
	}
	slices.Sort(ours[golden.Checks])
	if err := golden.Compare(filepath.Join("..", "..", "apiserver", "testdata", "kube-controller-manager-"+apiserver.KubernetesVersion), ours, managerDiffers); err != nil {
		t.Error(err)
	}
}
