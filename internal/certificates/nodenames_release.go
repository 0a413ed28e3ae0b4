// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// releaser releases the names of deleted nodes. It writes the UID of the Node to the
// record, to detect a deletion that happens while no control plane runs. It also deletes
// records without a valid certificate.
type releaser struct {
	client  kubernetes.Interface
	logger  *zap.Logger
	nodes   cache.SharedIndexInformer
	records cache.SharedIndexInformer
	queue   workqueue.TypedRateLimitingInterface[string] // names of nodes

	mu sync.Mutex
	// deleted has the resource versions of deletions of Nodes, for a Node that is deleted
	// before its UID is in the record.
	deleted map[string]string
}

func newReleaser(client kubernetes.Interface, logger *zap.Logger, nodes, records cache.SharedIndexInformer) *releaser {
	return &releaser{client: client, logger: logger, nodes: nodes, records: records, deleted: map[string]string{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())}
}

// run runs until ctx ends. Both informers must have synced. The informer of nodes is
// shared.
func (r *releaser) run(ctx context.Context) {
	defer utilruntime.HandleCrash()
	var working sync.WaitGroup
	defer working.Wait()
	defer r.queue.ShutDown()
	for _, source := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandlerFuncs
	}{
		{r.nodes, cache.ResourceEventHandlerFuncs{AddFunc: r.nodeAdded, DeleteFunc: r.nodeDeleted}},
		{r.records, cache.ResourceEventHandlerFuncs{AddFunc: r.recordSeen, UpdateFunc: func(_, after any) { r.recordSeen(after) }}},
	} {
		registration, err := source.informer.AddEventHandler(source.handler)
		if err != nil {
			r.logger.Error("the names of deleted nodes are not released", zap.Error(err))
			return
		}
		defer func() { _ = source.informer.RemoveEventHandler(registration) }() // only fails for a foreign registration
	}
	working.Go(func() {
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			for r.next(ctx) {
			}
		}, time.Second)
	})
	<-ctx.Done()
}

func (r *releaser) nodeAdded(object any) {
	if node, err := meta.Accessor(object); err == nil {
		r.queue.Add(node.GetName())
	}
}

func (r *releaser) nodeDeleted(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	node, err := meta.Accessor(object)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.deleted[node.GetName()] = node.GetResourceVersion()
	r.mu.Unlock()
	r.queue.Add(node.GetName())
}

func (r *releaser) recordSeen(object any) {
	if secret, ok := object.(*corev1.Secret); ok {
		if record, err := nodeidentity.Load(secret); err == nil {
			r.queue.Add(record.Node)
		}
	}
}

func (r *releaser) next(ctx context.Context) bool {
	name, quit := r.queue.Get()
	if quit {
		return false
	}
	defer r.queue.Done(name)
	if err := r.reconcile(ctx, name); err != nil {
		if ctx.Err() == nil && !apierrors.IsConflict(err) {
			utilruntime.HandleErrorWithContext(ctx, err, "Releasing the name of a node", "node", name)
		}
		r.queue.AddRateLimited(name)
		return true
	}
	r.queue.Forget(name)
	return true
}

func (r *releaser) deletedAt(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deleted[name]
}

func (r *releaser) forget(name, at string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deleted[name] == at {
		delete(r.deleted, name)
	}
}

func (r *releaser) reconcile(ctx context.Context, name string) error {
	deletedAt := r.deletedAt(name)
	object, ok, err := r.records.GetStore().GetByKey(nodeidentity.Namespace + "/" + nodeidentity.SecretName(name))
	if err != nil || !ok {
		// The record of a node that has just joined may arrive after the deletion of its
		// Node. It is then released when it lapses, or by an operator.
		r.forget(name, deletedAt)
		return err
	}
	secret := object.(*corev1.Secret).DeepCopy() //nolint:forcetypeassert // the informer has no others
	record, err := nodeidentity.Load(secret)
	if err != nil {
		return err
	}
	if !record.Reserved {
		r.forget(name, deletedAt)
		return nil
	}
	if known, ok, _ := r.nodes.GetStore().GetByKey(name); ok && record.NodeUID != "" {
		if node, err := meta.Accessor(known); err == nil && node.GetUID() == record.NodeUID {
			return nil // a deletion will arrive as an event
		}
	}
	// A live read, after the record: the informer may still have an earlier Node, from
	// before the reservation.
	node, err := r.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		r.forget(name, deletedAt)
		if record.NodeUID == node.UID {
			return nil
		}
		record.NodeUID = node.UID
		return r.store(ctx, record, secret)
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("certificates: node %s: %w", name, err)
	case record.NodeUID == "" && !isLaterVersion(deletedAt, secret.ResourceVersion):
		// No Node yet.
		r.forget(name, deletedAt)
		if left := time.Until(record.Expires()); left > 0 {
			r.queue.AddAfter(name, left)
			return nil
		}
	}
	if record.Enforced() {
		record.Release()
		err = r.store(ctx, record, secret)
	} else {
		err = r.client.CoreV1().Secrets(secret.Namespace).Delete(ctx, secret.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion},
		})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	r.forget(name, deletedAt)
	r.logger.Info("released the name of a deleted node", zap.String("node", name))
	return nil
}

func (r *releaser) store(ctx context.Context, record *nodeidentity.Record, secret *corev1.Secret) error {
	if err := nodeidentity.Store(record, secret); err != nil {
		return err
	}
	_, err := r.client.CoreV1().Secrets(secret.Namespace).Update(ctx, secret, metav1.UpdateOptions{})
	return err
}

// isLaterVersion reports whether a is a later resource version than b. All built-in
// resources share the revisions of one etcd.
func isLaterVersion(a, b string) bool {
	if a == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
