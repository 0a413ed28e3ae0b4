// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/kubembed/kubembed/internal/testwait"
)

// TestInformersSharePods verifies that two informers, which list and watch by requests of
// their own, share the memory of a pod with the watch cache, and that the pod has the
// content that clients get.
func TestInformersSharePods(t *testing.T) {
	p := sharedPlane(t)
	namespace := p.namespace(t)
	pods := p.admin().CoreV1().Pods(namespace)
	if _, err := pods.Create(t.Context(), richPod("before"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	stop := make(chan struct{})
	other := p.NewInformers()
	listers := []corelisters.PodLister{p.Informers().Core().V1().Pods().Lister(), other.Core().V1().Pods().Lister()}
	other.Start(stop)
	defer other.Shutdown()
	defer close(stop)

	same := func(name string) {
		t.Helper()
		testwait.Until(t, "pod "+name, func(context.Context) error {
			stored, err := pods.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			var containers []*corev1.Container
			for _, lister := range listers {
				known, err := lister.Pods(namespace).Get(name)
				if err != nil {
					return err
				}
				if known.ResourceVersion != stored.ResourceVersion {
					return errors.New("an informer has not seen the last change")
				}
				stored.ManagedFields = nil
				if !equality.Semantic.DeepEqual(known, stored) {
					t.Errorf("an informer has\n%v, want\n%v", known, stored)
				}
				containers = append(containers, &known.Spec.Containers[0])
			}
			if containers[0] != containers[1] {
				return errors.New("the informers do not share its memory")
			}
			return nil
		})
	}
	same("before") // by a list
	if _, err := pods.Create(t.Context(), richPod("after"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	same("after") // by a watch
	changed, err := pods.Get(t.Context(), "after", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changed.Labels = map[string]string{"changed": "yes"}
	if _, err := pods.Update(t.Context(), changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	same("after")
}

// richPod returns a pod with fields that the internal and the versioned type have in
// different places.
func richPod(name string) *corev1.Pod {
	yes := true
	rich := pod(name)
	rich.Annotations = map[string]string{"note": "one"}
	rich.Spec.ShareProcessNamespace = &yes
	rich.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes}
	rich.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	rich.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	return rich
}
