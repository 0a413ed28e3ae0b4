// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package rollback

import (
	"context"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/kubembed/kubembed/internal/checkpoint"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

var (
	leases      = schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}
	events      = schema.GroupResource{Resource: "events"}
	crds        = schema.GroupResource{Group: apiextensionsv1.GroupName, Resource: "customresourcedefinitions"}
	apiServices = schema.GroupResource{Group: apiregistrationv1.GroupName, Resource: "apiservices"}
)

// owners are resources in whose name controllers create and delete objects. Controllers
// must see that an owner is deleted before its dependents are, or they create those
// again.
var owners = []schema.GroupResource{
	{Resource: "namespaces"}, {Resource: "services"}, {Resource: "nodes"}, {Resource: "replicationcontrollers"},
	{Group: appsv1.GroupName, Resource: "deployments"}, {Group: appsv1.GroupName, Resource: "replicasets"},
	{Group: appsv1.GroupName, Resource: "statefulsets"}, {Group: appsv1.GroupName, Resource: "daemonsets"},
	{Group: batchv1.GroupName, Resource: "jobs"}, {Group: batchv1.GroupName, Resource: "cronjobs"},
	{Group: autoscalingv2.GroupName, Resource: "horizontalpodautoscalers"},
	{Group: policyv1.GroupName, Resource: "poddisruptionbudgets"},
}

// ignored reports whether a difference is part of normal operation and stays.
func (r *rollback) ignored(d checkpoint.Difference) bool {
	switch {
	case strings.HasPrefix(d.Key, r.Keyspace.MasterLeases()), strings.HasPrefix(d.Key, r.Keyspace.PeerLeases()):
		// They expire in etcd, and API servers renew them.
		return true
	case r.Keyspace.Has(d.Key, leases):
		return !d.New && !d.Gone
	case r.Keyspace.Has(d.Key, events):
		return !d.New // a missing event has expired
	}
	return false
}

// sorted groups differences in the order in which they are undone: new owners, other new
// objects, changed and missing objects, and new CRDs and APIServices.
func (r *rollback) sorted(differences []checkpoint.Difference) [][]checkpoint.Difference {
	var newOwners, newObjects, changed, newAPIs []checkpoint.Difference
	for _, d := range differences {
		switch {
		case !d.New:
			// After the objects on whose behalf controllers would change it again.
			changed = append(changed, d)
		case r.Keyspace.Has(d.Key, crds, apiServices):
			// After their objects, so that watches still report the deletions of those.
			newAPIs = append(newAPIs, d)
		case r.Keyspace.Has(d.Key, owners...):
			newOwners = append(newOwners, d)
		default:
			newObjects = append(newObjects, d)
		}
	}
	return [][]checkpoint.Difference{newOwners, newObjects, changed, newAPIs}
}

// customResources returns the resources whose CRDs are among differences.
func (r *rollback) customResources(differences []checkpoint.Difference) (all []schema.GroupResource) {
	for _, d := range differences {
		if r.Keyspace.Has(d.Key, crds) {
			all = append(all, schema.ParseGroupResource(objectName(d.Key)))
		}
	}
	return all
}

// groupVersions returns those whose APIServices are among differences.
func (r *rollback) groupVersions(differences []checkpoint.Difference) (all []schema.GroupVersion) {
	for _, d := range differences {
		if r.Keyspace.Has(d.Key, apiServices) {
			version, group, _ := strings.Cut(objectName(d.Key), ".")
			all = append(all, schema.GroupVersion{Group: group, Version: version})
		}
	}
	return all
}

func objectName(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// unregisterTimeout bounds the wait for the API server to delete the APIServices of
// deleted CRDs.
const unregisterTimeout = time.Second

// deleteAPIs deletes CRDs, and then the APIServices that the API server does not delete
// by itself. It does not create its own again once it has deleted them.
func (r *rollback) deleteAPIs(ctx context.Context, differences []checkpoint.Difference) error {
	groups := map[string]bool{}
	for _, resource := range r.customResources(differences) {
		groups[resource.Group] = true
	}
	var first, serverMade []checkpoint.Difference
	for _, d := range differences {
		if versions := r.groupVersions([]checkpoint.Difference{d}); len(versions) > 0 && groups[versions[0].Group] {
			serverMade = append(serverMade, d)
		} else {
			first = append(first, d)
		}
	}
	if err := r.write(ctx, first); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, unregisterTimeout)
	defer cancel()
	var err error
	_ = lifecycle.Poll(limit, func() bool {
		serverMade, err = r.present(ctx, serverMade)
		return err != nil || len(serverMade) == 0
	})
	if err != nil {
		return err
	}
	return r.write(ctx, serverMade)
}

// present returns the differences whose key exists.
func (r *rollback) present(ctx context.Context, differences []checkpoint.Difference) (found []checkpoint.Difference, err error) {
	for _, d := range differences {
		got, err := r.Client.Get(ctx, d.Key, clientv3.WithCountOnly())
		if err != nil {
			return nil, err
		}
		if got.Count > 0 {
			found = append(found, d)
		}
	}
	return found, nil
}
