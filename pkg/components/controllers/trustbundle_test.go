// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

const servingSigner = "kubernetes.io/kube-apiserver-serving"

// TestTrustBundleOfTheAPIServer: pods get the CA of the API server by its signer, as with
// kube-controller-manager. A deleted bundle is published again.
func TestTrustBundleOfTheAPIServer(t *testing.T) {
	p := start(t, controlplane.Config{})
	p.run(t, controllers.New(controllers.Config{}))
	find := func() *certificatesv1.ClusterTrustBundle {
		list, err := p.CertificatesV1().ClusterTrustBundles().List(t.Context(), metav1.ListOptions{FieldSelector: "spec.signerName=" + servingSigner})
		if err != nil || len(list.Items) != 1 || list.Items[0].Spec.TrustBundle != string(p.config.CAData) {
			return nil
		}
		return &list.Items[0]
	}
	var bundle *certificatesv1.ClusterTrustBundle
	testwait.True(t, "the bundle is published", func() bool { bundle = find(); return bundle != nil })
	if !strings.HasPrefix(bundle.Name, "kubernetes.io:kube-apiserver-serving:") {
		t.Errorf("got name %q", bundle.Name)
	}
	if err := p.CertificatesV1().ClusterTrustBundles().Delete(t.Context(), bundle.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.True(t, "the bundle is published again", func() bool { again := find(); return again != nil && again.UID != bundle.UID })
}

// TestTrustBundleOfAnOlderVersion: the publisher uses the newest served version.
func TestTrustBundleOfAnOlderVersion(t *testing.T) {
	p := start(t, controlplane.Config{RuntimeConfig: map[string]string{
		"certificates.k8s.io/v1/clustertrustbundles": "false", "certificates.k8s.io/v1beta1/clustertrustbundles": "true",
	}})
	p.run(t, controllers.New(controllers.Config{Controllers: []string{"kube-apiserver-serving-clustertrustbundle-publisher-controller"}}))
	testwait.True(t, "the bundle is published", func() bool {
		list, err := p.CertificatesV1beta1().ClusterTrustBundles().List(t.Context(), metav1.ListOptions{})
		return err == nil && len(list.Items) == 1 && list.Items[0].Spec == certificatesv1beta1.ClusterTrustBundleSpec{
			SignerName: servingSigner, TrustBundle: string(p.config.CAData),
		}
	})
}
