// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// tryPod creates a pod.
func (d *dirt) tryPod() (*corev1.Pod, error) {
	return d.client.CoreV1().Pods("default").Create(d.t.Context(), pod("try"), metav1.CreateOptions{})
}

// TestResetTakesEffect: the first request after Reset is no longer forbidden, or
// allowed, by the test before. It tries several times.
func TestResetTakesEffect(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	for name, effect := range map[string]struct {
		rounds int
		round  func(d *dirt)
	}{
		"permissions": {20, func(d *dirt) {
			config := cp.ClientConfig()
			config.Impersonate = rest.ImpersonationConfig{UserName: "jane", Groups: []string{"system:authenticated"}}
			jane := kubernetes.NewForConfigOrDie(config).CoreV1().Secrets("kube-system")
			created := d.create(manifestOf(d.t, "cluster role and binding"))
			d.must(cp.WaitForInformers(d.t.Context(), schema.GroupResource{Group: bindings.Group, Resource: "clusterroles"}, created[0].GetResourceVersion()))
			d.must(cp.WaitForInformers(d.t.Context(), bindings.GroupResource(), created[1].GetResourceVersion()))
			if _, err := jane.List(d.t.Context(), metav1.ListOptions{}); err != nil {
				d.t.Errorf("after WaitForInformers: %v", err)
			}
			cp.Reset(d.t)
			if _, err := jane.List(d.t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
				d.t.Errorf("after Reset: %v", err)
			}
		}},
		"webhooks": {20, func(d *dirt) {
			hook := d.create(manifestOf(d.t, "validating webhook that never answers"))[0]
			d.must(cp.WaitForInformers(d.t.Context(), schema.GroupResource{Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations"}, hook.GetResourceVersion()))
			if _, err := d.tryPod(); err == nil {
				d.t.Error("after WaitForInformers: no webhook was called")
			}
			cp.Reset(d.t)
			_, err := d.tryPod()
			d.must(err)
			cp.Reset(d.t)
		}},
		"policies": {5, func(d *dirt) {
			d.create(manifestOf(d.t, "validating policy with a binding"))
			testwait.True(d.t, "denial", func() bool {
				_, err := d.client.CoreV1().Pods("default").Create(d.t.Context(), pod("dry"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err != nil
			})
			cp.Reset(d.t)
			_, err := d.tryPod()
			d.must(err)
			cp.Reset(d.t)
		}},
		"pod security": {10, func(d *dirt) {
			d.patch(namespaces, "", "default", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`)
			cp.Reset(d.t)
			_, err := d.tryPod()
			d.must(err)
			cp.Reset(d.t)
		}},
		"priority": {10, func(d *dirt) {
			d.create(manifestOf(d.t, "priority class by default"))
			cp.Reset(d.t)
			made, err := d.tryPod()
			d.must(err)
			if *made.Spec.Priority != 0 {
				d.t.Errorf("priority %d", *made.Spec.Priority)
			}
			cp.Reset(d.t)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for range effect.rounds {
				effect.round(newDirt(t, cp))
			}
		})
	}
}

// TestResetFreesAddresses allocates every address of Services, repeatedly.
func TestResetFreesAddresses(t *testing.T) {
	t.Parallel()
	cfg := controlplanetest.Config{}
	cfg.ControlPlane.ServiceCIDR = "10.0.0.0/29"
	cp := controlplanetest.New(t, cfg)
	d := newDirt(t, cp)
	d.whole()
	for round := range 3 {
		for i := range 5 {
			_, err := d.client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s-", i)},
				Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: int32(30000 + i)}}},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		cp.Reset(t)
	}
}

// TestResetIsSeenByInformers runs informers of a test across Reset.
func TestResetIsSeenByInformers(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	d := newDirt(t, cp)
	d.create(manifestOf(t, "CRD with integers"))
	d.create(manifestOf(t, "namespace with objects"))
	d.remove(configMaps, "default", "kube-root-ca.crt")
	testwait.True(d.t, "root CA", func() bool {
		_, err := d.client.CoreV1().ConfigMaps("default").Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil
	})
	d.thousand()
	typed := informers.NewSharedInformerFactory(d.client, 0)
	custom := dynamicinformer.NewDynamicSharedInformerFactory(d.dynamic, 0)
	stores := map[string]cache.Store{
		"a/configmaps": typed.Core().V1().ConfigMaps().Informer().GetStore(),
		"b/namespaces": typed.Core().V1().Namespaces().Informer().GetStore(),
		"c/widgets":    custom.ForResource(widgets).Informer().GetStore(),
	}
	typed.Start(t.Context().Done())
	custom.Start(t.Context().Done())
	typed.WaitForCacheSync(t.Context().Done())
	custom.WaitForCacheSync(t.Context().Done())
	if stores["c/widgets"].ListKeys() == nil {
		t.Fatal("the informer has no widgets")
	}
	begin := time.Now()
	cp.Reset(t)
	t.Logf("Reset took %v", time.Since(begin))
	now, err := d.client.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{})
	d.must(err)
	testwait.True(d.t, "informer of custom resources", func() bool { return len(stores["c/widgets"].ListKeys()) == 0 })
	testwait.True(d.t, "informer of namespaces", func() bool { return len(stores["b/namespaces"].ListKeys()) == 4 })
	testwait.True(d.t, "informer of config maps", func() bool {
		if len(stores["a/configmaps"].ListKeys()) != len(now.Items) {
			return false
		}
		for i := range now.Items {
			have, ok, _ := stores["a/configmaps"].GetByKey(now.Items[i].Namespace + "/" + now.Items[i].Name)
			if !ok || have.(*corev1.ConfigMap).ResourceVersion != now.Items[i].ResourceVersion {
				return false
			}
		}
		return true
	})
	// The informers continue.
	_, err = d.client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "later"}}, metav1.CreateOptions{})
	d.must(err)
	testwait.True(d.t, "informer of config maps", func() bool {
		_, ok, _ := stores["a/configmaps"].GetByKey("default/later")
		return ok
	})
}

// A test cannot reset the control plane of another test.
func TestResetAfterTheEnd(t *testing.T) {
	t.Parallel()
	var cp *controlplanetest.ControlPlane
	(&recorder{name: "TestFirst"}).run(func(t controlplanetest.TB) { cp = controlplanetest.New(t, controlplanetest.Config{}) })
	after := &recorder{name: "TestSecond"}
	after.run(func(t controlplanetest.TB) { cp.Reset(t) })
	if !after.failed || !strings.Contains(after.text(), "TestFirst") {
		t.Errorf("failed %v: %s", after.failed, after.text())
	}
}
