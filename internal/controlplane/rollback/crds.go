// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package rollback

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/checkpoint"
)

const (
	// terminatingTimeout bounds the wait for a CRD that is being deleted.
	terminatingTimeout = time.Second
	// finalizerTimeout bounds it while upstream's finalizer deletes the custom resources.
	// The finalizer checks every five seconds whether they are deleted.
	finalizerTimeout = 30 * time.Second
)

// crdDeadlines end the waits of one rollback for CRDs that are being deleted.
type crdDeadlines struct{ terminating, finalizer time.Time }

func newCRDDeadlines(now time.Time) crdDeadlines {
	return crdDeadlines{now.Add(terminatingTimeout), now.Add(finalizerTimeout)}
}

// awaitTerminating reports whether to wait for a CRD that is being deleted and belongs to
// the checkpoint. Upstream's finalizer would also delete the custom resources that the
// rollback puts back. It ends soonest if there are none, so this deletes them too, even
// if they have finalizers.
func (r *rollback) awaitTerminating(ctx context.Context, differences []checkpoint.Difference) (wait bool, err error) {
	now := time.Now()
	for _, d := range differences {
		if d.New || d.Gone || !r.Keyspace.Has(d.Key, crds) {
			continue
		}
		got, err := r.Client.Get(ctx, d.Key)
		if err != nil {
			return false, err
		}
		var crd apiextensionsv1.CustomResourceDefinition // stored as JSON
		switch {
		case len(got.Kvs) == 0 || json.Unmarshal(got.Kvs[0].Value, &crd) != nil || crd.DeletionTimestamp == nil:
		case finalizerRuns(&crd) && now.Before(r.crdDeadlines.finalizer):
			wait = true
			objects := r.Keyspace.CustomResourcePrefix(schema.GroupResource{Group: crd.Spec.Group, Resource: crd.Spec.Names.Plural})
			if err := r.deleteBelow(ctx, objects); err != nil {
				return false, err
			}
		case now.Before(r.crdDeadlines.terminating):
			wait = true
		}
	}
	return wait, nil
}

// finalizerRuns reports whether upstream's finalizer is working. After a failure it tries
// again later, and finds the CRD as the rollback has left it.
func finalizerRuns(crd *apiextensionsv1.CustomResourceDefinition) bool {
	if !slices.Contains(crd.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		return false
	}
	return !slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Terminating && (c.Reason == "InstanceDeletionFailed" || c.Reason == "InstanceDeletionCheck")
	})
}

// deleteBelow deletes the keys below prefix. Without any it does not write.
func (r *rollback) deleteBelow(ctx context.Context, prefix string) error {
	got, err := r.Client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || got.Count == 0 {
		return err
	}
	_, err = r.Client.Delete(ctx, prefix, clientv3.WithPrefix())
	return err
}
