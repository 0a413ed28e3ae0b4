// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// Example is a test. Examples have no *testing.T, so t is a TB that prints.
func Example() {
	test := func(t controlplanetest.TB) {
		cp := controlplanetest.New(t, controlplanetest.Config{Audit: true})
		namespace := cp.Namespace(t)

		// The code under test.
		config := cp.ClientConfig()
		config.UserAgent = "widget-controller"
		client := kubernetes.NewForConfigOrDie(config)
		settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
		if _, err := client.CoreV1().ConfigMaps(namespace).Create(context.Background(), settings, metav1.CreateOptions{}); err != nil {
			t.Fatalf("%v", err)
		}

		for _, request := range cp.AuditTrail(t, controlplanetest.AuditFilter{UserAgent: "widget-controller"}) {
			fmt.Println(request.Verb, request.ObjectRef.Resource, request.ObjectRef.Name, request.ResponseStatus.Code)
		}
	}

	var t recorder
	t.run(test)
	fmt.Print(t.text())
	// Output: create configmaps settings 201
}
