// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestNetwork: clients that follow the links with the external host trust its
// certificate, and the default ServiceCIDR has both ranges.
func TestNetwork(t *testing.T) {
	server := start(t, controlplane.Config{Network: apiserver.Network{
		SecondaryServiceCIDR: "fd00:10:96::/112", ExternalHost: "api.example.com:8443",
	}})
	config := server.ClientConfig()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(config.CAData)
	conn, err := (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: "api.example.com"}}).
		DialContext(t.Context(), "tcp", strings.TrimPrefix(server.URL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	services, err := kubernetes.NewForConfigOrDie(config).NetworkingV1().ServiceCIDRs().Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil || strings.Join(services.Spec.CIDRs, ",") != "10.0.0.0/24,fd00:10:96::/112" {
		t.Errorf("default ServiceCIDR: got %v, %v", services.Spec.CIDRs, err)
	}
}
