// Package project is a project with controller-runtime: a controller.
package project

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Labeler labels all ConfigMaps.
type Labeler struct{ client.Client }

// Reconcile labels a ConfigMap.
func (l *Labeler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var object corev1.ConfigMap
	if err := l.Get(ctx, request.NamespacedName, &object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	before := object.DeepCopy()
	if object.Labels == nil {
		object.Labels = map[string]string{}
	}
	object.Labels["seen"] = "true"
	return ctrl.Result{}, l.Patch(ctx, &object, client.MergeFrom(before))
}

// Setup adds the controller to a manager.
func Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).For(&corev1.ConfigMap{}).Complete(&Labeler{mgr.GetClient()})
}
