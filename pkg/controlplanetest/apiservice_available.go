// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// The Accept headers of the two forms of discovery. Clients prefer the first.
const (
	aggregatedDiscovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	plainDiscovery      = "application/json"
)

// waitAvailable returns when the server answers, the API server reports its APIs
// available, and discovery has their groups and versions.
func (i *installedAPIServices) waitAvailable(ctx context.Context) error {
	if err := i.server.waitReady(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	for _, s := range i.services {
		if err := i.waitForCondition(ctx, s); err != nil {
			return fmt.Errorf("%s is not available within %v: %w; its server must answer at %s", s.from, i.timeout, err, i.server.address())
		}
	}
	return i.waitForDiscovery(ctx, true)
}

// waitForCondition makes the API server check the APIService again. By itself it backs
// off between checks.
func (i *installedAPIServices) waitForCondition(ctx context.Context, r registration) error {
	service := &apiregistrationv1.APIService{}
	touch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, installedBy+"-at", time.Now().Format(time.RFC3339Nano))
	rest := i.client.client(r)
	state := errors.New("the API server has not checked it yet")
	get := func() (bool, error) {
		if err := rest.Get().Resource(r.resource.Resource).Name(r.GetName()).Do(ctx).Into(service); err != nil {
			return false, err
		}
		ok, err := available(service)
		if err != nil {
			state = err
		}
		return ok, err
	}
	if ok, _ := get(); ok {
		return nil
	}
	if err := rest.Patch(types.MergePatchType).Resource(r.resource.Resource).Name(r.GetName()).Body([]byte(touch)).Do(ctx).Error(); err != nil {
		return err
	}
	if err := poll(ctx, get); err != nil {
		// The last reason explains more than the end of ctx.
		return fmt.Errorf("%w: %w", context.Cause(ctx), state)
	}
	return nil
}

func available(service *apiregistrationv1.APIService) (bool, error) {
	for _, c := range service.Status.Conditions {
		if c.Type == apiregistrationv1.Available {
			if c.Status == apiregistrationv1.ConditionTrue {
				return true, nil
			}
			return false, fmt.Errorf("%s: %s", c.Reason, c.Message)
		}
	}
	return false, nil
}

// waitGone returns when discovery no longer has the groups and versions.
func (i *installedAPIServices) waitGone(ctx context.Context) error {
	if len(i.services) == 0 {
		return nil
	}
	return i.waitForDiscovery(ctx, false)
}

// waitUnrouted waits until the aggregator has no handler below the paths of the APIs. It
// removes that a moment after the handler of the path itself, and answers 503 until then
// if the server is closed.
func (i *installedAPIServices) waitUnrouted(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		for _, r := range i.services {
			gv := groupVersion(r)
			if err := i.client.aggregator.Get().AbsPath("/apis", gv.Group, gv.Version, "gone").Do(ctx).Error(); !apierrors.IsNotFound(err) {
				return false, fmt.Errorf("%s is still served after it was removed: %w", r.from, err)
			}
		}
		return true, nil
	})
}

func (i *installedAPIServices) waitForDiscovery(ctx context.Context, present bool) error {
	return poll(ctx, func() (bool, error) {
		for _, accept := range []string{aggregatedDiscovery, plainDiscovery} {
			found, err := i.discover(ctx, accept)
			if err != nil {
				return false, fmt.Errorf("discovery: %w", err)
			}
			for _, r := range i.services {
				gv := groupVersion(r)
				switch {
				case present && !found[gv]:
					return false, fmt.Errorf("%s is not in discovery; its server must answer at %s", r.from, i.server.address())
				case !present && found[gv]:
					return false, fmt.Errorf("%s is still in discovery after it was removed", r.from)
				}
			}
		}
		return i.served(ctx, present)
	})
}

// served reports whether all groups and versions are served, or none if present is false.
func (i *installedAPIServices) served(ctx context.Context, present bool) (bool, error) {
	for _, r := range i.services {
		gv := groupVersion(r)
		err := i.client.aggregator.Get().AbsPath("/apis", gv.Group, gv.Version).Do(ctx).Error()
		switch {
		case present && err != nil:
			return false, fmt.Errorf("%s: %w", r.from, err)
		case !present && !apierrors.IsNotFound(err):
			return false, fmt.Errorf("%s is still served after it was removed", r.from)
		}
	}
	return true, nil
}

func groupVersion(r registration) schema.GroupVersion {
	spec := r.object.(*apiregistrationv1.APIService).Spec
	return schema.GroupVersion{Group: spec.Group, Version: spec.Version}
}

// discover returns the groups and versions of aggregated APIs in /apis.
func (i *installedAPIServices) discover(ctx context.Context, accept string) (map[schema.GroupVersion]bool, error) {
	data, err := i.client.aggregator.Get().AbsPath("/apis").SetHeader("Accept", accept).DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	found := map[schema.GroupVersion]bool{}
	if accept == plainDiscovery {
		var list metav1.APIGroupList
		err = json.Unmarshal(data, &list)
		for _, group := range list.Groups {
			for _, version := range group.Versions {
				found[schema.GroupVersion{Group: group.Name, Version: version.Version}] = true
			}
		}
		return found, err
	}
	var list apidiscoveryv2.APIGroupDiscoveryList
	err = json.Unmarshal(data, &list)
	for _, group := range list.Items {
		for _, version := range group.Versions {
			// A stale version has no resources yet, or no longer.
			found[schema.GroupVersion{Group: group.Name, Version: version.Version}] = version.Freshness == apidiscoveryv2.DiscoveryFreshnessCurrent
		}
	}
	return found, err
}
