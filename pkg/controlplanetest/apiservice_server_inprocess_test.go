// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	namer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/component-base/compatibility"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/generated/openapi"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// Flunder is the kind of an aggregated API. Its objects are created for each request,
// and have the user of the request.
type Flunder struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	User   string   `json:"user"`
	Groups []string `json:"groups"`
}

func (f *Flunder) DeepCopyObject() runtime.Object {
	c := *f
	f.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.Groups = append([]string(nil), f.Groups...)
	return &c
}

// flunders is a storage without objects.
type flunders struct{}

func (flunders) New() runtime.Object     { return &Flunder{} }
func (flunders) Destroy()                {}
func (flunders) NamespaceScoped() bool   { return false }
func (flunders) GetSingularName() string { return "flunder" }

func (flunders) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if name == "none" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: "flunders.example.com", Resource: "flunders"}, name)
	}
	user, _ := request.UserFrom(ctx)
	return &Flunder{ObjectMeta: metav1.ObjectMeta{Name: name}, User: user.GetName(), Groups: user.GetGroups()}, nil
}

// runFlunderServer runs a real aggregated API server until the end of the test. It
// authenticates through the front proxy, whose CA it reads from the control plane, and
// authorizes through the control plane.
func runFlunderServer(t testing.TB, cp *controlplanetest.ControlPlane, group string, at *controlplanetest.AggregatedServer) {
	t.Helper()
	gv := schema.GroupVersion{Group: group, Version: "v1"}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	scheme.AddKnownTypes(gv, &Flunder{})
	scheme.AddKnownTypes(schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal}, &Flunder{})
	metav1.AddToGroupVersion(scheme, gv)
	codecs := serializer.NewCodecFactory(scheme)

	kubeconfig, err := cp.Kubeconfig("flunder-server", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	config := genericapiserver.NewConfig(codecs)
	serving := genericoptions.NewSecureServingOptions()
	serving.BindAddress, serving.BindPort = net.ParseIP(at.Host), at.Port
	serving.ServerCert.CertKey = genericoptions.CertKey{CertFile: filepath.Join(at.CertDir, "tls.crt"), KeyFile: filepath.Join(at.CertDir, "tls.key")}
	if err := serving.ApplyTo(&config.SecureServing); err != nil {
		t.Fatal(err)
	}
	config.EffectiveVersion = compatibility.NewEffectiveVersionFromString("1.0", "", "")
	config.LoopbackClientConfig = cp.ClientConfig()
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(func(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		definitions := openapi.GetOpenAPIDefinitions(ref)
		definitions[util.GetCanonicalTypeName(&Flunder{})] = common.OpenAPIDefinition{Schema: spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}}
		return definitions
	}, namer.NewDefinitionNamer(scheme))
	authentication := genericoptions.NewDelegatingAuthenticationOptions()
	authentication.RemoteKubeConfigFile = file
	authorization := genericoptions.NewDelegatingAuthorizationOptions()
	authorization.RemoteKubeConfigFile = file
	if err := authentication.ApplyTo(&config.Authentication, config.SecureServing, nil); err != nil {
		t.Fatal(err)
	}
	if err := authorization.ApplyTo(&config.Authorization); err != nil {
		t.Fatal(err)
	}
	server, err := config.Complete(nil).New("flunders", genericapiserver.NewEmptyDelegate())
	if err != nil {
		t.Fatal(err)
	}
	info := genericapiserver.NewDefaultAPIGroupInfo(group, scheme, metav1.ParameterCodec, codecs)
	info.VersionedResourcesStorageMap["v1"] = map[string]rest.Storage{"flunders": flunders{}}
	if err := server.InstallAPIGroup(&info); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.PrepareRun().RunWithContext(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func flunderPath(group string) string { return fmt.Sprintf("/apis/%s/v1/flunders/", group) }
