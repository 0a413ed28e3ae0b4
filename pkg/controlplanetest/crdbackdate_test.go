package controlplanetest_test

import (
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// A custom resource whose definition was established less than two seconds ago is
// created two seconds later.
func TestInstalledCRDsAreNotNew(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	kind := schema.GroupVersionKind{Group: "fresh.example.com", Version: "v1", Kind: "Fresh"}
	installed := cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{
		controlplanetest.NewCRD(kind, "freshes", apiextensionsv1.ClusterScoped),
	}})
	established := apihelpers.FindCRDCondition(installed[0], apiextensionsv1.Established)
	if age := time.Since(established.LastTransitionTime.Time); age < 2*time.Second {
		t.Errorf("established %v ago", age)
	}
}
