package controlplanetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// CRDs says which CustomResourceDefinitions to install, and where they are read
// from. All sources together are one set: a definition may be in it twice if it is
// the same, and is refused if it is not.
type CRDs struct {
	// Paths are files, and directories of which the files .yaml, .yml and .json are
	// read, without the directories below: those that controller-gen writes to, like
	// config/crd/bases. A file may have many documents. Other kinds are left
	// out. A path that is missing or has no CustomResourceDefinition is an error.
	Paths []string

	// FS is what Paths are in, an embed.FS for example. With FS and no Paths, it
	// is read whole, with all directories. If nil, the disk, where Paths are relative
	// to the directory of the package under test.
	FS fs.FS

	// Manifests are the contents of such files.
	Manifests [][]byte

	// Objects are definitions as Go values. They are not changed. NewCRD makes one
	// where no schema is needed.
	Objects []*apiextensionsv1.CustomResourceDefinition
}

// InstallCRDs creates the definitions, or updates those that exist, and returns
// them in the order of the sources when they are served: they are in discovery and
// can be used in all of their served versions, and an update is in effect. What is
// wrong fails the test: the message has all problems, each with the file and document.
// All or none are stored: if the API server refuses one, those that are new are removed
// again.
//
// They stay until UninstallCRDs, Reset or the end of the control plane. Tests that
// run in parallel may install the same ones. It takes a minute at most, and a
// second more for each definition.
func (cp *ControlPlane) InstallCRDs(t TB, crds CRDs) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	cp.requireLive(t)
	installed, err := cp.installCRDs(cp.ctx, crds)
	if err != nil {
		t.Fatalf("controlplanetest: install CRDs: %v", err)
	}
	return installed
}

// UninstallCRDs deletes the definitions and all of their objects, and returns when
// they are not served any more. Those that do not exist are passed over. An
// object with a finalizer that nobody takes away keeps its definition: the test
// fails after a minute, and the message names the object.
func (cp *ControlPlane) UninstallCRDs(t TB, crds CRDs) {
	t.Helper()
	cp.requireLive(t)
	if err := cp.uninstallCRDs(cp.ctx, crds); err != nil {
		t.Fatalf("controlplanetest: uninstall CRDs: %v", err)
	}
}

const (
	crdTimeout    = time.Minute
	crdTimeoutPer = time.Second
)

func crdContext(ctx context.Context, crds int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, crdTimeout+time.Duration(crds)*crdTimeoutPer)
}

var (
	crdKind     = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition")
	crdResource = apiextensionsv1.Resource("customresourcedefinitions")
)

// customResource is a definition and where it is from, for messages.
type customResource struct {
	*apiextensionsv1.CustomResourceDefinition
	from string
}

// read returns the definitions, each once, and all problems that can be seen
// without a server.
func (c CRDs) read() ([]customResource, error) {
	var found []customResource
	var errs []error
	manifests, err := manifestSources{field: "CRDs", paths: c.Paths, fsys: c.FS, bytes: c.Manifests}.read(crdKind)
	if err != nil {
		errs = append(errs, err)
	}
	crds, err := decodeCRDs(manifests)
	if err != nil {
		errs = append(errs, err)
	}
	for i, m := range manifests {
		found = append(found, customResource{crds[i], m.String()})
	}
	for i, object := range c.Objects {
		if object == nil {
			errs = append(errs, fmt.Errorf("CRDs.Objects[%d] is nil", i))
			continue
		}
		found = append(found, customResource{object.DeepCopy(), fmt.Sprintf("CRDs.Objects[%d] (%s %q)", i, crdKind.Kind, object.Name)})
	}
	if len(found) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("CRDs has no Paths, FS, Manifests or Objects"))
	}
	unique, err := uniqueCRDs(found)
	if err != nil {
		errs = append(errs, err)
	}
	return unique, errors.Join(errs...)
}

func decodeCRDs(manifests []manifest) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	crds := make([]*apiextensionsv1.CustomResourceDefinition, len(manifests))
	errs := make([]error, len(manifests))
	inParallel(len(manifests), func(i int) {
		crds[i] = &apiextensionsv1.CustomResourceDefinition{}
		errs[i] = manifests[i].into(crds[i])
	})
	return crds, errors.Join(errs...)
}

func uniqueCRDs(found []customResource) ([]customResource, error) {
	var unique []customResource
	var errs []error
	first := map[string]customResource{}
	for _, crd := range found {
		crd.tidy()
		before, seen := first[crd.Name]
		switch {
		case !seen:
			first[crd.Name] = crd
			unique = append(unique, crd)
		case crd.Name != "" && !equality.Semantic.DeepEqual(before.Spec, crd.Spec):
			errs = append(errs, fmt.Errorf("%s: differs from %s: remove one of them", crd.from, before.from))
		}
	}
	return unique, errors.Join(errs...)
}

// tidy takes away what would keep the definition from being created: what only a
// server gives, and a CA bundle that is a placeholder, like kubebuilder's "Cg==".
func (c customResource) tidy() {
	c.ResourceVersion, c.UID = "", ""
	if webhook := conversionWebhook(c.Spec.Conversion); webhook != nil && len(bytes.TrimSpace(webhook.CABundle)) == 0 {
		webhook.CABundle = nil
	}
}

func (c CRDs) empty() bool {
	return len(c.Paths) == 0 && c.FS == nil && len(c.Manifests) == 0 && len(c.Objects) == 0
}

// NewCRD returns a definition of kind for CRDs.Objects, with one version, the
// subresource status, and a schema that takes every field: for tests of what does
// not depend on validation, pruning or defaults. plural is the name of the resource,
// like "foos".
func NewCRD(kind schema.GroupVersionKind, plural string, scope apiextensionsv1.ResourceScope) *apiextensionsv1.CustomResourceDefinition {
	every := true
	return &apiextensionsv1.CustomResourceDefinition{
		TypeMeta:   metav1.TypeMeta{APIVersion: crdKind.GroupVersion().String(), Kind: crdKind.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: plural + "." + kind.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: kind.Group,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind.Kind, Plural: plural},
			Scope: scope,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name:         kind.Version,
				Served:       true,
				Storage:      true,
				Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &every}},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			}},
		},
	}
}
