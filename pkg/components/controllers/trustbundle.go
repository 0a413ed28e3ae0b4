// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1alpha1 "k8s.io/api/certificates/v1alpha1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/certificates/clustertrustbundlepublisher"

	"github.com/kubembed/kubembed/internal/served"
)

// servingSigner is upstream's name for the signer of the API server's serving
// certificate.
const servingSigner = "kubernetes.io/kube-apiserver-serving"

// trustBundlePublishers are upstream's publishers by API version, in the order of
// preference of kube-controller-manager.
var trustBundlePublishers = []struct {
	version schema.GroupVersion
	build   func(signer string, ca dynamiccertificates.CAContentProvider, client kubernetes.Interface) (clustertrustbundlepublisher.PublisherRunner, error)
}{
	{certificatesv1.SchemeGroupVersion, clustertrustbundlepublisher.NewGAClusterTrustBundlePublisher},
	{certificatesv1beta1.SchemeGroupVersion, clustertrustbundlepublisher.NewBetaClusterTrustBundlePublisher},
	{certificatesv1alpha1.SchemeGroupVersion, clustertrustbundlepublisher.NewAlphaClusterTrustBundlePublisher},
}

func trustBundles(version schema.GroupVersion) string {
	return served.Name(version.WithResource("clustertrustbundles"))
}

func trustBundleVersions() (names []string) {
	for _, publisher := range trustBundlePublishers {
		names = append(names, trustBundles(publisher.version))
	}
	return names
}

// newServingTrustBundle creates the controller that publishes the CA of the API server as
// a ClusterTrustBundle. It is the CA of the component's client configuration, in place of
// --root-ca-file of kube-controller-manager. Without a CA it publishes nothing, as
// upstream.
func newServingTrustBundle(ctx context.Context, e *environment) (func(context.Context), error) {
	config := rest.CopyConfig(e.config)
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("the CA of the API server: %w", err)
	}
	if len(config.CAData) == 0 {
		klog.FromContext(ctx).Info("No ClusterTrustBundle is published: the client configuration has no CA", "signer", servingSigner)
		return func(ctx context.Context) { <-ctx.Done() }, nil
	}
	ca, err := dynamiccertificates.NewStaticCAContent("kube-apiserver-serving", config.CAData)
	if err != nil {
		return nil, fmt.Errorf("the CA of the API server: %w", err)
	}
	client, err := e.client("kube-apiserver-serving-clustertrustbundle-publisher")
	if err != nil {
		return nil, err
	}
	publisher := trustBundlePublishers[0]
	for _, candidate := range trustBundlePublishers {
		if len(e.served.Missing(trustBundles(candidate.version))) == 0 {
			publisher = candidate
			break
		}
	}
	runner, err := publisher.build(servingSigner, ca, client)
	if err != nil {
		return nil, err
	}
	return runner.Run, nil
}
