// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// bindQuickly is All with a short sync period. By default a claim waits for 15 seconds if
// the binder has not seen its volume yet.
var bindQuickly = controllers.Config{Customize: func(c *kubectrlmgrconfig.KubeControllerManagerConfiguration) {
	c.PersistentVolumeBinderController.PVClaimBinderSyncPeriod.Duration = 200 * time.Millisecond
}}

// newVolume and newClaim return a volume and a claim that match.
func newVolume(name string, source corev1.PersistentVolumeSource) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity:    corev1.ResourceList{corev1.ResourceStorage: quantity("1Gi")},
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},

		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
		PersistentVolumeSource:        source,
	}}
}

func newClaim(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: meta(name), Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new(string),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: quantity("1Gi")}},
	}}
}

// bind creates a volume and a claim, and waits until they are bound.
func (p plane) bind(t *testing.T, volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) {
	t.Helper()
	if _, err := p.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.CoreV1().RESTClient(), "persistentvolumeclaims", "default", claim.Name), &corev1.PersistentVolumeClaim{}, func(c *corev1.PersistentVolumeClaim) bool {
		return c.Status.Phase == corev1.ClaimBound && c.Spec.VolumeName == volume.Name
	})
}

// A hostPath volume with reclaim policy Delete is not removed: its path is on this
// machine.
func TestHostPathIsNotDeleted(t *testing.T) {
	p := start(t, controlplane.Config{})
	p.run(t, controllers.New(bindQuickly))
	// Upstream only removes paths with /tmp/.
	dir := t.TempDir() + "/tmp/data"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p.bind(t, newVolume("disk", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}), newClaim("data"))
	if err := p.CoreV1().PersistentVolumeClaims("default").Delete(t.Context(), "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.CoreV1().RESTClient(), "persistentvolumes", "", "disk"), &corev1.PersistentVolume{}, func(v *corev1.PersistentVolume) bool {
		return v.Status.Phase == corev1.VolumeFailed
	})
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

// A CSI volume is attached to the node of the pod that uses it.
func TestAttach(t *testing.T) {
	p := start(t, controlplane.Config{})
	p.run(t, controllers.New(bindQuickly))
	const driver = "csi.example.com"
	if _, err := p.StorageV1().CSIDrivers().Create(t.Context(), &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "worker", Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
	}}
	if _, err := p.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.bind(t, newVolume("disk", corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: "7"}}), newClaim("data"))
	pod := &corev1.Pod{ObjectMeta: meta("user"), Spec: template("user", "image:1").Spec}
	pod.Spec.NodeName = "worker"
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
	if _, err := p.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var attachment storagev1.VolumeAttachment
	testwait.True(t, "there is a VolumeAttachment", func() bool {
		list, err := p.StorageV1().VolumeAttachments().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 0 {
			return false
		}
		attachment = list.Items[0]
		return attachment.Spec.NodeName == "worker" && *attachment.Spec.Source.PersistentVolumeName == "disk"
	})
	attachment.Status.Attached = true // as the CSI driver does
	if _, err := p.StorageV1().VolumeAttachments().UpdateStatus(t.Context(), &attachment, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Object(t, testwait.Named(p.CoreV1().RESTClient(), "nodes", "", "worker"), &corev1.Node{}, func(n *corev1.Node) bool {
		return len(n.Status.VolumesAttached) == 1
	})
}
