// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// mapping is an admission plugin that keeps its REST mapper.
type mapping struct {
	*admission.Handler
	meta.RESTMapper
}

func (m *mapping) SetRESTMapper(mapper meta.RESTMapper) { m.RESTMapper = mapper }

func (m *mapping) ValidateInitialization() error { return nil }

func (m *mapping) Validate(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	return nil
}

// TestAdmissionKnowsNewKinds: the REST mapper of admission has a new kind when discovery
// has it. Policies with parameters of this kind denied all requests for half a minute.
func TestAdmissionKnowsNewKinds(t *testing.T) {
	t.Parallel()
	plugin := &mapping{Handler: admission.NewHandler(admission.Create)}
	p := startPlane(t, func(c *apiserver.Config) {
		c.Admission.Plugins = append(c.Admission.Plugins, apiserver.AdmissionPlugin{Name: "Mapping", New: func() (admission.Interface, error) { return plugin, nil }})
	})
	const group = "mapped.example.com"
	widget := schema.GroupKind{Group: group, Kind: "Widget"}
	discovered := func(want bool) {
		t.Helper()
		testwait.Until(t, "discovery", func(context.Context) error {
			groups, err := p.admin().Discovery().ServerGroups()
			if err != nil {
				return err
			}
			if got := slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == group }); got != want {
				return fmt.Errorf("%s: got %t, want %t", group, got, want)
			}
			return nil
		})
	}
	if _, err := plugin.RESTMapping(widget); !meta.IsNoMatchError(err) {
		t.Fatalf("got error %v, want none of this kind", err)
	}
	p.widgets(t, group)
	discovered(true)
	if _, err := plugin.RESTMapping(widget); err != nil {
		t.Error(err)
	}
	client := apiextensionsclient.NewForConfigOrDie(p.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions()
	if err := client.Delete(t.Context(), "widgets."+group, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	discovered(false)
	if _, err := plugin.RESTMapping(widget); !meta.IsNoMatchError(err) {
		t.Errorf("got error %v, want none of this kind", err)
	}
}
