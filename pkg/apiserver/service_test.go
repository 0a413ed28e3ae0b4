// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

func TestKubernetesService(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.ServiceCIDR = cidr(t, "10.96.0.0/24")
		c.AdvertiseAddress = net.ParseIP("192.0.2.10")
	})
	ctx := t.Context()
	core := p.admin().CoreV1()
	testwait.Until(t, "the kubernetes Service", func(context.Context) error {
		s, err := core.Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		if err == nil && s.Spec.ClusterIP != "10.96.0.1" {
			t.Fatalf("got address %s, want 10.96.0.1", s.Spec.ClusterIP)
		}
		return err
	})
	testwait.Until(t, "its endpoint", func(context.Context) error {
		slices, err := p.admin().DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
		if err != nil {
			return err
		}
		for _, s := range slices.Items {
			if len(s.Endpoints) == 1 && s.Endpoints[0].Addresses[0] == "192.0.2.10" {
				return nil
			}
		}
		return fmt.Errorf("got EndpointSlices %+v, want one with the advertised address", slices.Items)
	})
}

// TestServiceAddresses verifies the allocators, which keep their state in etcd. The
// allocator of node ports has an etcd connection of its own.
func TestServiceAddresses(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.ServiceCIDR = cidr(t, "10.97.0.0/28") })
	ctx := t.Context()
	services := p.admin().CoreV1().Services("default")
	used := map[string]bool{}
	for _, name := range []string{"a", "b"} {
		created := must(services.Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
		}, metav1.CreateOptions{}))(t)
		ip, port := created.Spec.ClusterIP, created.Spec.Ports[0].NodePort
		if !cidr(t, "10.97.0.0/28").Contains(net.ParseIP(ip)) || port < 30000 || port > 32767 {
			t.Errorf("%s: got address %s, port %d, want them in the ranges", name, ip, port)
		}
		if used[ip] || used[fmt.Sprint(port)] {
			t.Errorf("got %s or port %d twice", ip, port)
		}
		used[ip], used[fmt.Sprint(port)] = true, true
	}
	taken := must(services.Get(ctx, "a", metav1.GetOptions{}))(t)
	_, err := services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "c"},
		Spec:       corev1.ServiceSpec{ClusterIP: taken.Spec.ClusterIP, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	wantRefused(t, err, "already allocated")
	_, err = services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "c"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: taken.Spec.Ports[0].NodePort}}},
	}, metav1.CreateOptions{})
	wantRefused(t, err, "already allocated")
	_, err = services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "c"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.5", Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	wantRefused(t, err, "10.0.0.5")
}
