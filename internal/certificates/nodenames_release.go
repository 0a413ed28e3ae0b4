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

// releaser releases the names of nodes that were deleted. It writes into the
// record that the Node has appeared, so that a deletion is noticed that happens
// while no control plane runs it, and deletes records without a valid certificate.
type releaser struct {
	client  kubernetes.Interface
	logger  *zap.Logger
	nodes   cache.SharedIndexInformer
	records cache.SharedIndexInformer
	queue   workqueue.TypedRateLimitingInterface[string] // names of nodes

	mu sync.Mutex
	// deleted are the resource versions at which Nodes were deleted: one that was
	// there so shortly that its record does not say so.
	deleted map[string]string
}

func newReleaser(client kubernetes.Interface, logger *zap.Logger, nodes, records cache.SharedIndexInformer) *releaser {
	return &releaser{client: client, logger: logger, nodes: nodes, records: records, deleted: map[string]string{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())}
}

// run works until ctx ends. Both informers are synced, and one of them is not its own.
func (r *releaser) run(ctx context.Context) {
	defer utilruntime.HandleCrash()
	var working sync.WaitGroup
	defer working.Wait()
	defer r.queue.ShutDown()
	for _, of := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandlerFuncs
	}{
		{r.nodes, cache.ResourceEventHandlerFuncs{AddFunc: r.nodeAdded, DeleteFunc: r.nodeDeleted}},
		{r.records, cache.ResourceEventHandlerFuncs{AddFunc: r.recordSeen, UpdateFunc: func(_, after any) { r.recordSeen(after) }}},
	} {
		registration, err := of.informer.AddEventHandler(of.handler)
		if err != nil {
			r.logger.Error("the names of deleted nodes are not released", zap.Error(err))
			return
		}
		defer func() { _ = of.informer.RemoveEventHandler(registration) }() // only ever says that it is none of its own
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
		// The record of a node that has just joined may come later than the end of its
		// Node. It is then released when it lapses, or by hand.
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
			return nil // if it is deleted by now, that is yet to be heard
		}
	}
	// Read live, and later than the record: what an informer still has may be the
	// Node from before the name was reserved.
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
	case record.NodeUID == "" && !later(deletedAt, secret.ResourceVersion):
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
	r.logger.Info("the name of a node is free again", zap.String("node", name))
	return nil
}

func (r *releaser) store(ctx context.Context, record *nodeidentity.Record, secret *corev1.Secret) error {
	if err := nodeidentity.Store(record, secret); err != nil {
		return err
	}
	_, err := r.client.CoreV1().Secrets(secret.Namespace).Update(ctx, secret, metav1.UpdateOptions{})
	return err
}

// later reports whether a is a later resource version than b. Those of all built-in
// resources count the changes of one etcd.
func later(a, b string) bool {
	if a == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
