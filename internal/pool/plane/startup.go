// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"fmt"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/apiserver/endpoints"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// startup are paths of objects that upstream writes some time after the start.
var startup = []string{
	"/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
	"/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking",
	"/api/v1/namespaces/default/services/kubernetes",
}

// published are the paths of the endpoints of the kubernetes Service.
var published = []string{
	"/api/v1/namespaces/default/endpoints/kubernetes",
	"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
}

// waitForStartup returns when all objects of a start exist. Later ones would look like
// objects of a test.
func waitForStartup(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := waitForAll(ctx, client, startup); err != nil {
		return err
	}
	service, err := client.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return err
	}
	// A machine with loopback alone, or of the other family, has no address for them.
	family := &net.IPNet{IP: net.ParseIP(service.Spec.ClusterIP)}
	if endpoints.MachineAddress(net.IPv4(127, 0, 0, 1), family) == nil {
		return nil
	}
	if _, err := client.Discovery().ServerResourcesForGroupVersion("discovery.k8s.io/v1"); apierrors.IsNotFound(err) {
		return waitForAll(ctx, client, published[:1]) // RuntimeConfig has switched it off
	}
	return waitForAll(ctx, client, published)
}

func waitForAll(ctx context.Context, client kubernetes.Interface, paths []string) error {
	for _, path := range paths {
		var last error
		if err := lifecycle.Poll(ctx, func() bool {
			last = client.CoreV1().RESTClient().Get().AbsPath(path).Do(ctx).Error()
			return last == nil
		}); err != nil {
			return fmt.Errorf("%s: %w (%w)", path, err, last)
		}
	}
	return nil
}
