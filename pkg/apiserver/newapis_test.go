// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"net/http"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/kubernetes/pkg/features"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestClusterTrustBundle verifies an API that is served by default since Kubernetes 1.37.
func TestClusterTrustBundle(t *testing.T) {
	p := sharedPlane(t)
	bundles := p.admin().CertificatesV1().ClusterTrustBundles()
	must(bundles.Create(t.Context(), &certificatesv1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: "example.com:signer:one"},
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: "example.com/signer", TrustBundle: string(p.pki.CABundle())},
	}, metav1.CreateOptions{}))(t)
	_, err := bundles.Create(t.Context(), &certificatesv1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: "two"},
		Spec:       certificatesv1.ClusterTrustBundleSpec{TrustBundle: "no certificate"},
	}, metav1.CreateOptions{})
	wantRefused(t, err, "spec.trustBundle")
	found := must(bundles.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.signerName=example.com/signer"}))(t)
	if len(found.Items) != 1 {
		t.Errorf("got %d bundles of the signer, want 1", len(found.Items))
	}
}

// TestPodCertificateRequest verifies that a kubelet can request a certificate for its pod
// and read the signer's answer.
func TestPodCertificateRequest(t *testing.T) {
	p := sharedPlane(t)
	ctx, ns := t.Context(), p.namespace(t)
	admin := p.admin()
	account := must(admin.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "certified"}}, metav1.CreateOptions{}))(t)
	node := must(admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "certified"}}, metav1.CreateOptions{}))(t)
	certified := pod("certified")
	certified.Spec.NodeName, certified.Spec.ServiceAccountName = node.Name, account.Name
	certified.Spec.Volumes = []corev1.Volume{{Name: "certificate", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{
			SignerName: "example.com/signer", KeyType: "ECDSAP256", CredentialBundlePath: "bundle.pem",
		}}},
	}}}}
	certified = must(admin.CoreV1().Pods(ns).Create(ctx, certified, metav1.CreateOptions{}))(t)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	stub := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))(t)
	request := func(name string, podUID types.UID) *certificatesv1.PodCertificateRequest {
		return &certificatesv1.PodCertificateRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: certificatesv1.PodCertificateRequestSpec{
				SignerName: "example.com/signer",
				PodName:    certified.Name, PodUID: podUID, ServiceAccountName: account.Name, ServiceAccountUID: account.UID,
				NodeName: types.NodeName(node.Name), NodeUID: node.UID,
				MaxExpirationSeconds: new(int32(86400)), StubPKCS10Request: stub,
			},
		}
	}
	requests, others := p.node(t, node.Name).CertificatesV1().PodCertificateRequests(ns), p.node(t, "another").CertificatesV1().PodCertificateRequests(ns)
	testwait.Until(t, "the node's request", func(context.Context) error {
		_, err := requests.Create(ctx, request("asked", certified.UID), metav1.CreateOptions{})
		return err
	})
	_, err := requests.Create(ctx, request("forged", "another"), metav1.CreateOptions{})
	if !contains(err, "differs from running pod") { // the informer may lag; it is no 403
		t.Errorf("request for a pod that does not exist: got error %v, want one about the running pod", err)
	}
	_, err = others.Create(ctx, request("stolen", certified.UID), metav1.CreateOptions{})
	wantForbidden(t, "a request of another node", err)

	asked := must(admin.CertificatesV1().PodCertificateRequests(ns).Get(ctx, "asked", metav1.GetOptions{}))(t)
	asked.Status.Conditions = []metav1.Condition{{
		Type: certificatesv1.PodCertificateRequestConditionTypeDenied, Status: metav1.ConditionTrue,
		Reason: "Test", Message: "no", LastTransitionTime: metav1.Now(),
	}}
	must(admin.CertificatesV1().PodCertificateRequests(ns).UpdateStatus(ctx, asked, metav1.UpdateOptions{}))(t)
	testwait.Until(t, "the node reads the answer", func(context.Context) error {
		answered, err := requests.Get(ctx, "asked", metav1.GetOptions{})
		if err == nil && len(answered.Status.Conditions) != 1 {
			t.Errorf("got status %+v, want one condition", answered.Status)
		}
		return err
	})
	_, err = others.Get(ctx, "asked", metav1.GetOptions{})
	wantForbidden(t, "an answer for another node", err)
}

// TestAPIsBehindGates verifies that groups of eviction requests and workloads are served
// if Config.RuntimeConfig and the feature gates enable them.
func TestAPIsBehindGates(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.GenericWorkload, true)
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.EvictionRequestAPI, true)
	p := startPlane(t, func(c *apiserver.Config) {
		c.RuntimeConfig = map[string]string{"scheduling.k8s.io/v1beta1": "true", "lifecycle.k8s.io/v1alpha1": "true"}
	})
	ctx, client := t.Context(), p.admin()
	p.get(t, "/readyz").want(t, http.StatusOK)
	workload := &schedulingv1beta1.Workload{
		ObjectMeta: metav1.ObjectMeta{Name: "w"},
		Spec: schedulingv1beta1.WorkloadSpec{PodGroupTemplates: []schedulingv1beta1.PodGroupTemplate{{
			Name: "workers", SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: 2}},
		}}},
	}
	must(client.SchedulingV1beta1().Workloads("default").Create(ctx, workload, metav1.CreateOptions{}))(t)
	must(client.SchedulingV1beta1().PodGroups("default").Create(ctx, &schedulingv1beta1.PodGroup{
		ObjectMeta: metav1.ObjectMeta{Name: "g"},
		Spec:       schedulingv1beta1.PodGroupSpec{SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: 2}}},
	}, metav1.CreateOptions{}))(t)
	running := must(client.CoreV1().Pods("default").Create(ctx, pod("evicted"), metav1.CreateOptions{}))(t)
	must(client.LifecycleV1alpha1().EvictionRequests("default").Create(ctx, &lifecyclev1alpha1.EvictionRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "e"},
		Spec: lifecyclev1alpha1.EvictionRequestSpec{
			Target:    lifecyclev1alpha1.EvictionRequestTarget{Pod: &lifecyclev1alpha1.EvictionRequestPodReference{Name: running.Name, UID: running.UID}},
			Requester: "example.com/drain", Intent: lifecyclev1alpha1.EvictionRequestIntentEviction,
		},
	}, metav1.CreateOptions{}))(t)
}
