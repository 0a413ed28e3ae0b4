// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// startup are paths of objects that upstream writes some time after the start.
var startup = []string{
	"/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
	"/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking",
	"/api/v1/namespaces/default/services/kubernetes",
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
	for _, path := range startup {
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
