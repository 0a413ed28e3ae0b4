package controllers_test

import (
	"path/filepath"
	"testing"

	"github.com/kubembed/kubembed/internal/golden"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// createdDifferently is every difference between the objects of a new control plane with this package's
// controllers and those that kube-apiserver and kube-controller-manager have created.
var createdDifferently = []golden.Difference{}

// TestObjectsOfKubeControllerManager compares with the real programs.
func TestObjectsOfKubeControllerManager(t *testing.T) {
	p := start(t, controlplane.Config{AdvertiseAddress: "192.0.2.1"})
	p.run(t, controllers.New(controllers.Config{}))
	dir := filepath.Join("..", "..", "apiserver", "testdata", "kube-controller-manager-"+apiserver.KubernetesVersion)
	var last error
	eventually(t, "the objects that controllers create", func() bool {
		ours, err := golden.Of(t.Context(), p.config)
		if err != nil {
			t.Fatal(err)
		}
		last = golden.Compare(dir, golden.Lines{golden.Objects: ours[golden.Objects]}, createdDifferently)
		t.Log(last)
		return last == nil
	})
}
