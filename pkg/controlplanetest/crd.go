// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// CRDs are the CustomResourceDefinitions to install. All sources form one set: a
// CRD may occur twice if both are equal. Different CRDs of one name are an error.
type CRDs struct {
	// Paths are files and directories, like config/crd/bases, to which controller-gen
	// writes. In a directory the files .yaml, .yml and .json are read, without
	// subdirectories. A file may have many documents. Other kinds are left out. A path
	// that is missing or has no CustomResourceDefinition is an error.
	Paths []string

	// FS is the file system of Paths, like an embed.FS. With FS and no Paths, it is
	// read whole, with all directories. If nil, the disk, where Paths are relative to
	// the directory of the package under test.
	FS fs.FS

	// Manifests are the contents of such files.
	Manifests [][]byte

	// Objects are CRDs as Go values. They are not changed. NewCRD returns one for tests
	// that need no schema.
	Objects []*apiextensionsv1.CustomResourceDefinition
}

// InstallCRDs creates the CRDs, or updates existing ones, and returns them in the order
// of the sources. By then they are in discovery, all served versions can be used, and
// updates are in effect. A problem fails the test: the message has all problems, each
// with its file and document. InstallCRDs stores all CRDs or none: if the API server
// refuses one, the new ones are removed again.
//
// The CRDs stay until UninstallCRDs, Reset or the end of the control plane. Tests that
// run in parallel may install the same CRDs. The timeout is a minute, and a second more
// for each CRD.
func (cp *ControlPlane) InstallCRDs(t TB, crds CRDs) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	cp.requireLive(t)
	installed, err := cp.installCRDs(cp.ctx, crds)
	if err != nil {
		t.Fatalf("controlplanetest: install CRDs: %v", err)
	}
	return installed
}

// UninstallCRDs deletes the CRDs and all of their objects, and returns when they are no
// longer served. CRDs that do not exist are ignored. An object with a finalizer keeps its
// CRD: if nothing removes the finalizer, the test fails after a minute, and the message
// names the object.
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

// customResource is a CRD and its source for messages.
type customResource struct {
	*apiextensionsv1.CustomResourceDefinition
	from string
}

// read returns each CRD once, and all problems that can be found without a server.
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

// tidy removes fields that would prevent a create: fields that only a server sets, and
// a CA bundle that is a placeholder, like kubebuilder's "Cg==".
func (c customResource) tidy() {
	c.ResourceVersion, c.UID = "", ""
	if webhook := conversionWebhook(c.Spec.Conversion); webhook != nil && len(bytes.TrimSpace(webhook.CABundle)) == 0 {
		webhook.CABundle = nil
	}
}

func (c CRDs) empty() bool {
	return len(c.Paths) == 0 && c.FS == nil && len(c.Manifests) == 0 && len(c.Objects) == 0
}

// NewCRD returns a CRD of kind for CRDs.Objects, with one version, the subresource
// status, and a schema that accepts every field. It is for tests that do not depend on
// validation, pruning or defaults. plural is the name of the resource, like "foos".
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
