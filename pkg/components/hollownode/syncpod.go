// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hollownode

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// syncPod performs the next step of a pod.
func (s *session) syncPod(ctx context.Context, name types.NamespacedName) error {
	p, ok := s.pods.get(name)
	if !ok || p.removed || s.isDead(p.object.Spec.NodeName) {
		return nil
	}
	now, since := time.Now(), p.since
	step := p.step(now, s.server.address.Addr().String(), func() []corev1.PodIP { return s.allocateIPs(&p) })
	// The new time of the containers is saved only after their status is written.
	since, p.since = p.since, since
	s.pods.save(name, p)
	if !equality.Semantic.DeepEqual(&p.object.Status, &step.status) {
		update := *p.object
		update.Status = step.status
		updated, err := s.client.CoreV1().Pods(name.Namespace).UpdateStatus(ctx, &update, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		} else if err != nil {
			return err
		}
		p.since = since
		s.pods.save(name, p)
		if !step.remove && updated.ResourceVersion != p.object.ResourceVersion {
			return nil // the watch delivers the pod with its new status
		}
	}
	if step.remove {
		return s.remove(ctx, name, p)
	}
	if !step.wake.IsZero() {
		s.queue.AddAfter(name, step.wake.Sub(now))
	}
	return nil
}

// remove confirms the deletion of a pod whose containers have stopped.
func (s *session) remove(ctx context.Context, name types.NamespacedName, p pod) error {
	options := metav1.NewPreconditionDeleteOptions(string(p.object.UID))
	options.GracePeriodSeconds = new(int64)
	err := s.client.CoreV1().Pods(name.Namespace).Delete(ctx, name.Name, *options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	p.removed = true
	s.pods.save(name, p)
	return nil
}

// allocateIPs allocates an address for the pod from each range of its node.
func (s *session) allocateIPs(p *pod) (list []corev1.PodIP) {
	for _, prefix := range s.nodes[p.object.Spec.NodeName].podCIDRs(s.config.PodCIDR) {
		ip, ok := s.ips.allocate(p.object.UID, prefix)
		if !ok {
			s.logger.Warn("no free address for a pod", zap.Stringer("pod", key(p.object)), zap.Stringer("range", prefix))
			s.pods.release(&pod{object: p.object, podIPs: list})
			return nil
		}
		list = append(list, corev1.PodIP{IP: ip.String()})
	}
	return list
}
