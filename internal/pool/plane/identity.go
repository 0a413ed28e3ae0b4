// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// identity has the resources that a control plane serves, and the UIDs of their objects.
// Reset compares it after a Rollback, through the API: Rollback works in etcd.
type identity map[schema.GroupVersionResource]map[string]bool

// passing are resources whose objects come and go by themselves, or are none.
var passing = map[schema.GroupResource]bool{
	{Resource: "componentstatuses"}:              true,
	{Resource: "events"}:                         true,
	{Group: "events.k8s.io", Resource: "events"}: true,
	leases: true, // see marks
}

var leases = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

// identify returns the identity of the resources in only; nil stands for all. Without the
// watch caches, which every list would start, the objects are read from etcd.
func identify(ctx context.Context, config *rest.Config, only map[schema.GroupResource]bool) (identity, error) {
	discover, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	// The context of discovery requests is their own.
	lists, err := discover.ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	options, err := present(ctx, objects)
	if err != nil {
		return nil, err
	}
	found := identity{}
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			gvr := group.WithResource(resource.Name)
			found[gvr] = nil
			if passing[gvr.GroupResource()] || !listed(resource) || only != nil && !only[gvr.GroupResource()] {
				continue
			}
			all, err := objects.Resource(gvr).List(ctx, options)
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", gvr.GroupResource(), err)
			}
			found[gvr] = map[string]bool{}
			for _, object := range all.Items {
				found[gvr][string(object.UID)] = true
			}
		}
	}
	return found, nil
}

// present returns the options of lists of the present objects.
func present(ctx context.Context, objects metadata.Interface) (metav1.ListOptions, error) {
	namespaces, err := objects.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return metav1.ListOptions{}, fmt.Errorf("list namespaces: %w", err)
	}
	return metav1.ListOptions{ResourceVersion: namespaces.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact}, nil
}

func listed(resource metav1.APIResource) bool { return slices.Contains(resource.Verbs, "list") }

// compare returns an error if the identities differ in the resources that now has.
func (i identity) compare(now identity) error {
	var errs []error
	for gvr, uids := range now {
		before, served := i[gvr]
		switch {
		case !served:
			errs = append(errs, fmt.Errorf("%s are served", gvr.GroupResource()))
		case uids != nil && !maps.Equal(before, uids):
			errs = append(errs, fmt.Errorf("%s: %d objects, and %d at the start, or others", gvr.GroupResource(), len(uids), len(before)))
		}
	}
	for gvr := range i {
		if _, served := now[gvr]; !served {
			errs = append(errs, fmt.Errorf("%s are no longer served", gvr.GroupResource()))
		}
	}
	return errors.Join(errs...)
}
