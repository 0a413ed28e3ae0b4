// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func (p *plane) uninstallCRDs(ctx context.Context, crds CRDs) error {
	wanted, err := crds.read()
	if err != nil {
		return err
	}
	ctx, cancel := crdContext(ctx, len(wanted))
	defer cancel()
	client, err := p.crdClient()
	if err != nil {
		return err
	}
	gone := make([]*apiextensionsv1.CustomResourceDefinition, len(wanted))
	errs := each(wanted, func(i int) (err error) {
		gone[i], err = client.uninstall(ctx, wanted[i].Name)
		return err
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var served []*apiextensionsv1.CustomResourceDefinition
	for _, crd := range gone {
		if crd != nil {
			served = append(served, crd)
		}
	}
	return client.waitForDiscovery(ctx, served, false)
}

// uninstall returns the deleted CRD, or nil if it did not exist.
func (c crdClient) uninstall(ctx context.Context, name string) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd, err := c.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	if err := c.waitUntilGone(ctx, crd); err != nil {
		return nil, err
	}
	return crd, c.waitUntilNotServed(ctx, crd)
}

// waitUntilGone waits for the deletion of the CRD with this UID.
func (c crdClient) waitUntilGone(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	_, err := c.waitFor(ctx, crd, "gone", func(event watch.EventType, now *apiextensionsv1.CustomResourceDefinition) (bool, error) {
		return event == watch.Deleted || now.UID != crd.UID, nil
	})
	if err != nil {
		// Usually ctx has ended.
		return fmt.Errorf("%w%s", err, c.remaining(context.WithoutCancel(ctx), crd))
	}
	return nil
}

// remaining names the objects that keep the CRD, for a message.
func (c crdClient) remaining(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) string {
	for _, version := range crd.Spec.Versions {
		if !version.Served {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, crdTimeoutPer)
		defer cancel()
		var list metav1.PartialObjectMetadataList
		err := c.rest.Get().AbsPath("/apis", crd.Spec.Group, version.Name, crd.Spec.Names.Plural).
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").
			Do(ctx).Into(&list)
		if err != nil || len(list.Items) == 0 {
			return ""
		}
		var names []string
		for _, item := range list.Items {
			name := item.Name
			if item.Namespace != "" {
				name = item.Namespace + "/" + name
			}
			names = append(names, fmt.Sprintf("%s %v", name, item.Finalizers))
		}
		return "; objects that remain, with their finalizers: " + strings.Join(names, ", ")
	}
	return ""
}

func (c crdClient) waitUntilNotServed(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	for _, version := range crd.Spec.Versions {
		if err := poll(ctx, func() (bool, error) {
			err := c.list(ctx, crd, version.Name)
			if apierrors.IsNotFound(err) {
				return true, nil
			}
			if err == nil {
				err = errors.New("can still be listed")
			}
			return false, err
		}); err != nil {
			return fmt.Errorf("version %s: %w", version.Name, err)
		}
	}
	return nil
}
