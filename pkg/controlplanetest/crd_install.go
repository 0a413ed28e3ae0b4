// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
)

// crdClient is a client for CRDs and their custom resources.
type crdClient struct {
	*gentype.ClientWithList[*apiextensionsv1.CustomResourceDefinition, *apiextensionsv1.CustomResourceDefinitionList]
	rest  rest.Interface
	plane *plane
}

func (p *plane) crdClient() (crdClient, error) {
	config := p.admin()
	// Schemas are large, and JSON takes three times as long.
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, parameters, err := restClient(config, apiextensionsv1.SchemeGroupVersion, apiextensionsv1.AddToScheme)
	if err != nil {
		return crdClient{}, err
	}
	crds := gentype.NewClientWithList("customresourcedefinitions", client, parameters, "",
		func() *apiextensionsv1.CustomResourceDefinition { return &apiextensionsv1.CustomResourceDefinition{} },
		func() *apiextensionsv1.CustomResourceDefinitionList {
			return &apiextensionsv1.CustomResourceDefinitionList{}
		})
	return crdClient{crds, client, p}, nil
}

// installConfiguredCRDs installs the CRDs of Config.
func (p *plane) installConfiguredCRDs(ctx context.Context) error {
	if p.config.CRDs.empty() {
		return nil
	}
	if _, err := p.installReadCRDs(ctx, p.read.crds, nil); err != nil {
		return fmt.Errorf("install CRDs: %w", err)
	}
	return nil
}

func (p *plane) installCRDs(ctx context.Context, crds CRDs) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	wanted, err := crds.read()
	return p.installReadCRDs(ctx, wanted, err)
}

func (p *plane) installReadCRDs(ctx context.Context, wanted []customResource, readErr error) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	ctx, cancel := crdContext(ctx, len(wanted))
	defer cancel()
	client, err := p.crdClient()
	if err != nil {
		return nil, err
	}
	if readErr != nil {
		// Validate the readable CRDs nevertheless, so that one run shows all problems.
		return nil, errors.Join(readErr, client.validateAll(ctx, wanted))
	}
	installed, existed, err := client.storeAll(ctx, wanted)
	if err != nil {
		return nil, err
	}
	errs := each(wanted, func(i int) (err error) {
		installed[i], err = client.waitUntilServed(ctx, installed[i], existed[i])
		return err
	})
	if err := errors.Join(errs...); err != nil {
		if len(wanted) > 1 {
			err = fmt.Errorf("%w\n%s", err, installedCRDs(wanted, errs))
		}
		return nil, err
	}
	if err := client.waitForDiscovery(ctx, installed, true); err != nil {
		return nil, err
	}
	return installed, nil
}

// installedCRDs names the CRDs without an error, for a message.
func installedCRDs(wanted []customResource, errs []error) string {
	var done []string
	for i, crd := range wanted {
		if errs[i] == nil {
			done = append(done, crd.Name)
		}
	}
	if len(done) == 0 {
		return "none is installed"
	}
	return "installed are: " + strings.Join(done, ", ")
}

// validateAll makes the API server validate the CRDs without storing them.
func (c crdClient) validateAll(ctx context.Context, wanted []customResource) error {
	return errors.Join(each(wanted, func(i int) error {
		_, err := c.store(ctx, wanted[i], []string{metav1.DryRunAll})
		return err
	})...)
}

// storeAll creates or updates all CRDs or none: it validates existing ones before it
// updates them, and removes the new ones again if one is refused. Validating the new ones
// first would take as long as storing them.
func (c crdClient) storeAll(ctx context.Context, wanted []customResource) (stored []*apiextensionsv1.CustomResourceDefinition, existed []bool, err error) {
	stored = make([]*apiextensionsv1.CustomResourceDefinition, len(wanted))
	existed, created := make([]bool, len(wanted)), make([]bool, len(wanted))
	err = errors.Join(each(wanted, func(i int) (err error) {
		stored[i], err = c.Create(ctx, wanted[i].CustomResourceDefinition, metav1.CreateOptions{})
		if existed[i] = apierrors.IsAlreadyExists(err); existed[i] {
			return nil
		}
		created[i] = err == nil
		return err
	})...)
	if len(wanted) > 1 { // a single CRD needs no validation before its update
		var existing []customResource
		for i, crd := range wanted {
			if existed[i] {
				existing = append(existing, crd)
			}
		}
		err = errors.Join(err, c.validateAll(ctx, existing))
	}
	if err == nil {
		err = errors.Join(each(wanted, func(i int) (err error) {
			if existed[i] {
				stored[i], err = c.store(ctx, wanted[i], nil)
			}
			return err
		})...)
	}
	if err == nil {
		return stored, existed, nil
	}
	return nil, nil, errors.Join(append([]error{err}, each(wanted, func(i int) error {
		if !created[i] {
			return nil
		}
		if _, err := c.uninstall(ctx, wanted[i].Name); err != nil {
			return fmt.Errorf("remove it again: %w", err)
		}
		return nil
	})...)...)
}

// store creates or updates a CRD.
func (c crdClient) store(ctx context.Context, wanted customResource, dryRun []string) (*apiextensionsv1.CustomResourceDefinition, error) {
	for {
		existing, err := c.Get(ctx, wanted.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			stored, err := c.Create(ctx, wanted.CustomResourceDefinition, metav1.CreateOptions{DryRun: dryRun})
			if apierrors.IsAlreadyExists(err) {
				continue
			}
			return stored, err
		}
		if err != nil {
			return nil, err
		}
		if existing.DeletionTimestamp != nil {
			if len(dryRun) > 0 {
				return existing, nil
			}
			if err := c.waitUntilGone(ctx, existing); err != nil {
				return nil, err
			}
			continue
		}
		c.change(existing, wanted)
		stored, err := c.Update(ctx, existing, metav1.UpdateOptions{DryRun: dryRun})
		// Another writer was faster: another test, or a controller with the status.
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return stored, err
		}
	}
}

// change updates existing to wanted. It keeps labels and annotations of others.
func (c crdClient) change(existing *apiextensionsv1.CustomResourceDefinition, wanted customResource) {
	existing.Spec = *wanted.Spec.DeepCopy()
	c.plane.conversions.keep(existing)
	if existing.Labels == nil {
		existing.Labels = map[string]string{}
	}
	if existing.Annotations == nil {
		existing.Annotations = map[string]string{}
	}
	maps.Copy(existing.Labels, wanted.Labels)
	maps.Copy(existing.Annotations, wanted.Annotations)
}

// waitUntilServed returns the CRD when it is established and the API server's informer
// has it: from then on a new CRD is served. waitUntilServed lists all versions of a CRD
// that was served before its update.
func (c crdClient) waitUntilServed(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, existed bool) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd, err := c.waitUntilEstablished(ctx, crd)
	if err != nil {
		return nil, err
	}
	crd.SetGroupVersionKind(crdKind)
	if err := c.plane.server.WaitForInformers(ctx, crdResource, crd.ResourceVersion); err != nil {
		return nil, err
	}
	if existed {
		return crd, c.waitUntilListed(ctx, crd)
	}
	return crd, nil
}
