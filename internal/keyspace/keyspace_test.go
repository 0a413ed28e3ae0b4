// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package keyspace_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane" // installs the built-in groups
	"k8s.io/kubernetes/pkg/kubeapiserver"

	"github.com/kubembed/kubembed/internal/keyspace"
)

// TestResourcePrefix compares the prefix of each built-in resource with the one of
// upstream's storage factory.
func TestResourcePrefix(t *testing.T) {
	t.Parallel()
	options := genericoptions.NewEtcdOptions(storagebackend.NewDefaultConfig("/registry", nil))
	config := kubeapiserver.NewStorageFactoryConfig()
	config.APIResourceConfig = controlplane.DefaultAPIResourceConfigSource()
	factory, err := config.Complete(options).New()
	if err != nil {
		t.Fatal(err)
	}
	keys := keyspace.New("/registry")
	resources := 0
	for kind := range legacyscheme.Scheme.AllKnownTypes() {
		plural, _ := meta.UnsafeGuessKindToResource(kind)
		resource := plural.GroupResource()
		want := "/registry/" + strings.Trim(factory.ResourcePrefix(resource), "/") + "/"
		if got := keys.ResourcePrefix(resource); got != want {
			t.Errorf("ResourcePrefix(%s): got %q, want %q", resource, got, want)
		}
		resources++
	}
	if resources < 50 {
		t.Errorf("got %d resources, want all built-in ones", resources)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	keys := keyspace.New("/registry")
	pods := schema.GroupResource{Resource: "pods"}
	nodes := schema.GroupResource{Resource: "nodes"}
	widgets := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	gadgets := schema.GroupResource{Group: "apps", Resource: "gadgets"}
	definitions := schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}
	apiServices := schema.GroupResource{Group: "apiregistration.k8s.io", Resource: "apiservices"}
	for _, test := range []struct{ got, want string }{
		{keys.Prefix(), "/registry/"},
		{keys.Object(pods, "default", "web"), "/registry/pods/default/web"},
		{keys.Object(nodes, "", "worker"), "/registry/minions/worker"},
		{keys.Object(widgets, "default", "one"), "/registry/example.com/widgets/default/one"},
		{keys.ResourcePrefix(definitions), "/registry/apiextensions.k8s.io/customresourcedefinitions/"},
		{keys.ResourcePrefix(apiServices), "/registry/apiregistration.k8s.io/apiservices/"},
		{strings.Join(keys.ResourcePrefixes(pods), " "), "/registry/pods/"},
		{strings.Join(keys.ResourcePrefixes(widgets), " "), "/registry/example.com/widgets/"},
		{strings.Join(keys.ResourcePrefixes(gadgets), " "), "/registry/gadgets/ /registry/apps/gadgets/"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
	index := keys.Index(pods, nodes, widgets)
	for key, want := range map[string]string{
		"/registry/pods/default/web":                "pods default/web",
		"/registry/minions/worker":                  "nodes worker",
		"/registry/example.com/widgets/default/one": "widgets.example.com default/one",
		"/registry/podtemplates/default/web":        "",
		"/elsewhere/pods/default/web":               "",
	} {
		got := ""
		if resource, name, ok := index.Find(key); ok {
			got = resource.String() + " " + name
		}
		if got != want {
			t.Errorf("Find(%q): got %q, want %q", key, got, want)
		}
	}
	if !keys.Has("/registry/minions/worker", pods, nodes) || keys.Has("/registry/minions/worker", pods) {
		t.Error("Has does not find the resource of /registry/minions/worker")
	}
}
