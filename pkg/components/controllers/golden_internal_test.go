package controllers

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kubembed/kubembed/internal/golden"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// managerDiffers is every difference between the controllers and settings of kube-controller-manager
// by default and those of this package.
var managerDiffers = []golden.Difference{
	{
		File: golden.Checks,
		Lines: `-(certificatesigningrequest-(approving|cleaner|signing)|clusterrole-aggregation|garbage-collector|legacy-serviceaccount-token-cleaner|` +
			`namespace|persistentvolume-binder|resourcequota|root-ca-certificate-publisher|serviceaccount|serviceaccount-token)-controller on`,
		Reason: "every control plane runs it by itself",
	},
}

// TestControllersAndSettingsOfKubeControllerManager compares with the real kube-controller-manager.
func TestControllersAndSettingsOfKubeControllerManager(t *testing.T) {
	cfg := Config{}.clone()
	settings, err := cfg.settings()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"kubecontrollermanager.config.k8s.io": settings})
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	ours := golden.Lines{golden.Settings: golden.Leaves(tree)}
	chosen, errs := choose(nil, false)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, c := range catalogue() {
		state := " off"
		if _, off := c.gated(); !off && slices.ContainsFunc(chosen, func(d controller) bool { return d.name == c.name }) {
			state = " on"
		}
		ours[golden.Checks] = append(ours[golden.Checks], c.name+state)
	}
	slices.Sort(ours[golden.Checks])
	if err := golden.Compare(filepath.Join("..", "..", "apiserver", "testdata", "kube-controller-manager-"+apiserver.KubernetesVersion), ours, managerDiffers); err != nil {
		t.Error(err)
	}
}
