// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
)

// convertedCRD is a CRD with a conversion of the fixture.
//
// The API server serves custom resources by a copy of the CRD, which it renews some
// time after a change. No API reports when, or shows the conversion in effect. The API
// does show the columns for kubectl, so convert changes the description of the first
// column together with the conversion.
type convertedCRD struct {
	name    string
	now     *apiextensionsv1.CustomResourceConversion
	mark    string // the description
	columns []apiextensionsv1.CustomResourceColumnDefinition
}

// convert returns when the conversion is in effect.
func (c *convertedCRD) convert(ctx context.Context, p *plane) error {
	c.mark = "The API server converts these objects by a webhook of a test (" + rand.String(8) + ")."
	return c.update(ctx, p, true, func(spec *apiextensionsv1.CustomResourceDefinitionSpec) bool {
		spec.Conversion = c.now
		version := shown(spec)
		if version == nil {
			return true
		}
		c.columns = version.AdditionalPrinterColumns
		version.AdditionalPrinterColumns = slices.Clone(c.columns)
		if len(c.columns) == 0 {
			// the default column
			version.AdditionalPrinterColumns = []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"}}
		}
		version.AdditionalPrinterColumns[0].Description = c.mark
		return true
	})
}

// restore returns when the conversion is no longer in effect. It leaves a conversion of
// others as it is.
func (c *convertedCRD) restore(ctx context.Context, p *plane, earlier *apiextensionsv1.CustomResourceConversion) error {
	return c.update(ctx, p, false, func(spec *apiextensionsv1.CustomResourceDefinitionSpec) bool {
		if !equality.Semantic.DeepEqual(spec.Conversion, c.now) {
			return false
		}
		spec.Conversion = earlier
		if version := shown(spec); version != nil && len(version.AdditionalPrinterColumns) > 0 && version.AdditionalPrinterColumns[0].Description == c.mark {
			version.AdditionalPrinterColumns = c.columns
		}
		return true
	})
}

// update changes the CRD and waits until it is served with the mark, or without it.
func (c *convertedCRD) update(ctx context.Context, p *plane, marked bool, change func(*apiextensionsv1.CustomResourceDefinitionSpec) bool) error {
	client, err := p.crdClient()
	if err != nil {
		return err
	}
	var crd *apiextensionsv1.CustomResourceDefinition
	changed := false
	if err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if crd, err = client.Get(ctx, c.name, metav1.GetOptions{}); err != nil {
			return err
		}
		if changed = change(&crd.Spec); !changed {
			return nil
		}
		crd, err = client.Update(ctx, crd, metav1.UpdateOptions{})
		return err
	}); err != nil {
		return fmt.Errorf("conversion of CustomResourceDefinition %q: %w", c.name, err)
	}
	version := shown(&crd.Spec)
	if version == nil || !changed {
		return nil
	}
	if err := poll(ctx, func() (bool, error) {
		descriptions, err := columns(ctx, client.rest, crd, version.Name)
		if err == nil && slices.Contains(descriptions, c.mark) != marked {
			err = errors.New("not in effect yet")
		}
		return err == nil, err
	}); err != nil {
		return fmt.Errorf("conversion of CustomResourceDefinition %q: %w", c.name, err)
	}
	return nil
}

// shown returns a served version, if possible the storage version.
func shown(spec *apiextensionsv1.CustomResourceDefinitionSpec) *apiextensionsv1.CustomResourceDefinitionVersion {
	var served *apiextensionsv1.CustomResourceDefinitionVersion
	for i := range spec.Versions {
		if version := &spec.Versions[i]; version.Served && (served == nil || version.Storage) {
			served = version
		}
	}
	return served
}

// columns returns the descriptions of the columns that kubectl shows.
func columns(ctx context.Context, client rest.Interface, crd *apiextensionsv1.CustomResourceDefinition, version string) ([]string, error) {
	get := client.Get()
	if crd.Spec.Scope == apiextensionsv1.NamespaceScoped {
		get = get.Namespace(metav1.NamespaceDefault)
	}
	// While the API server renews its copy, it asks for a retry after a second.
	data, err := get.MaxRetries(0).AbsPath("/apis", crd.Spec.Group, version).Resource(crd.Spec.Names.Plural).
		// no object, because it might need conversion
		Param("fieldSelector", "metadata.name=none-is-called-so").
		Param("resourceVersion", "0").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").
		DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var table metav1.Table
	if err := json.Unmarshal(data, &table); err != nil {
		return nil, err
	}
	var descriptions []string
	for _, column := range table.ColumnDefinitions {
		descriptions = append(descriptions, column.Description)
	}
	return descriptions, nil
}
