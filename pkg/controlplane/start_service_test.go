// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestKubernetesService(t *testing.T) {
	client := admin(t, start(t, controlplane.Config{ServiceCIDR: "10.11.12.0/24"}))
	testwait.Object(t, testwait.Named(client.CoreV1().RESTClient(), "services", "default", "kubernetes"), &corev1.Service{}, func(service *corev1.Service) bool {
		return service.Spec.ClusterIP == "10.11.12.1" && len(service.Spec.Ports) == 1 && service.Spec.Ports[0].Port == 443
	})
}

// TestAdvertiseAddress: workers must find the address in kubeconfigs, in the
// endpoints of the kubernetes Service and in the serving certificate.
func TestAdvertiseAddress(t *testing.T) {
	const address = "192.0.2.10" // reserved for documentation
	server := start(t, controlplane.Config{AdvertiseAddress: address})
	waitAdvertised(t, admin(t, server), address)

	kubeconfig, err := server.NodeKubeconfig("n1")
	if err != nil {
		t.Fatal(err)
	}
	config := fromKubeconfig(t, kubeconfig)
	host, port, err := net.SplitHostPort(hostPort(t, config.Host))
	if err != nil || config.Host != server.URL() || host != address {
		t.Errorf("got %s in the kubeconfig and URL %s (%v), want %s in both", config.Host, server.URL(), err, address)
	}
	// The certificate is valid for the address.
	config.Host, config.ServerName = "https://127.0.0.1:"+port, address
	wantUser(t, clientFor(t, config), "system:node:n1", "system:nodes")
}

// waitAdvertised waits until the kubernetes Service has the endpoint address.
func waitAdvertised(t *testing.T, client *kubernetes.Clientset, address string) {
	t.Helper()
	testwait.Object(t, testwait.Named(client.DiscoveryV1().RESTClient(), "endpointslices", "default", "kubernetes"), &discoveryv1.EndpointSlice{}, func(slice *discoveryv1.EndpointSlice) bool {
		return len(slice.Endpoints) == 1 && len(slice.Endpoints[0].Addresses) == 1 && slice.Endpoints[0].Addresses[0] == address
	})
	testwait.Object(t, testwait.Named(client.CoreV1().RESTClient(), "endpoints", "default", "kubernetes"), &corev1.Endpoints{}, func(endpoints *corev1.Endpoints) bool { //nolint:staticcheck // kept by upstream
		return len(endpoints.Subsets) == 1 && len(endpoints.Subsets[0].Addresses) == 1 && endpoints.Subsets[0].Addresses[0].IP == address
	})
}
