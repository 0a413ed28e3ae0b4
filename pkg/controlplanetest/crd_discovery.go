// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// waitForDiscovery returns when discovery has exactly the served versions of crds, or
// none of their versions if present is false.
func (c crdClient) waitForDiscovery(ctx context.Context, crds []*apiextensionsv1.CustomResourceDefinition, present bool) error {
	var wrong []string
	err := poll(ctx, func() (bool, error) {
		found, err := c.discover(ctx)
		if err != nil {
			return false, err
		}
		wrong = nil
		for _, crd := range crds {
			for _, version := range crd.Spec.Versions {
				resource := schema.GroupVersionResource{Group: crd.Spec.Group, Version: version.Name, Resource: crd.Spec.Names.Plural}
				if kind := found[resource]; (kind != "") != (present && version.Served) {
					wrong = append(wrong, resource.GroupVersion().String()+" "+resource.Resource)
				}
			}
		}
		return len(wrong) == 0, nil
	})
	if err == nil {
		return nil
	}
	state := "does not match the installed CRDs"
	if !present {
		state = "still has uninstalled CRDs"
	}
	return fmt.Errorf("discovery %s: %s: %w", state, strings.Join(wrong, ", "), err)
}

// discover returns the kinds of all resources in /apis, in the form that clients read.
func (c crdClient) discover(ctx context.Context) (map[schema.GroupVersionResource]string, error) {
	data, err := c.rest.Get().AbsPath("/apis").
		SetHeader("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").
		DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var groups apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal(data, &groups); err != nil {
		return nil, err
	}
	found := map[schema.GroupVersionResource]string{}
	for _, group := range groups.Items {
		for _, version := range group.Versions {
			for _, resource := range version.Resources {
				found[schema.GroupVersionResource{Group: group.Name, Version: version.Version, Resource: resource.Resource}] = resource.ResponseKind.Kind
			}
		}
	}
	return found, nil
}
