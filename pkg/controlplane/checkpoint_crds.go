package controlplane

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/kubembed/kubembed/internal/checkpoint"
)

const (
	// terminatingTimeout is how long a CRD that is being deleted gets to be gone.
	terminatingTimeout = time.Second
	// cleanupTimeout is how long it gets while upstream's finalizer deletes its custom
	// resources. That looks every five seconds whether they are gone.
	cleanupTimeout = 30 * time.Second
)

// patience bounds the wait of a Restore for CRDs that are being deleted.
type patience struct{ terminating, cleanup time.Time }

func newPatience() patience {
	now := time.Now()
	return patience{now.Add(terminatingTimeout), now.Add(cleanupTimeout)}
}

// terminating reports whether to wait for a CRD that is being deleted and is to be as it was:
// upstream's finalizer, which deletes the custom resources first, would go on with those
// that are put back. It is gone soonest where there are none, so they are deleted here too,
// also where they have finalizers.
func (c *Checkpoint) terminating(ctx context.Context, differences []checkpoint.Difference, until patience) (wait bool, err error) {
	now := time.Now()
	for _, d := range differences {
		if d.New || d.Gone || !c.under(d.Key, definitions) {
			continue
		}
		got, err := c.server.etcd.Client().Get(ctx, d.Key)
		if err != nil {
			return false, err
		}
		var crd apiextensionsv1.CustomResourceDefinition // stored as JSON
		switch {
		case len(got.Kvs) == 0 || json.Unmarshal(got.Kvs[0].Value, &crd) != nil || crd.DeletionTimestamp == nil:
		case cleansUp(&crd) && now.Before(until.cleanup):
			wait = true
			objects := c.server.config.Etcd.Prefix + "/" + crd.Spec.Group + "/" + crd.Spec.Names.Plural + "/"
			if err := c.deleteBelow(ctx, objects); err != nil {
				return false, err
			}
		case now.Before(until.terminating):
			wait = true
		}
	}
	return wait, nil
}

// cleansUp reports whether upstream's finalizer is at work. Where it has failed it begins
// again later, and finds the CRD as it was.
func cleansUp(crd *apiextensionsv1.CustomResourceDefinition) bool {
	if !slices.Contains(crd.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		return false
	}
	return !slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Terminating && (c.Reason == "InstanceDeletionFailed" || c.Reason == "InstanceDeletionCheck")
	})
}

// deleteBelow writes nothing where there is nothing.
func (c *Checkpoint) deleteBelow(ctx context.Context, prefix string) error {
	client := c.server.etcd.Client()
	got, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || got.Count == 0 {
		return err
	}
	_, err = client.Delete(ctx, prefix, clientv3.WithPrefix())
	return err
}
