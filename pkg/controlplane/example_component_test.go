// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"fmt"
	"log"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// census is a component: it counts namespaces.
type census struct{}

func (census) Name() string { return "census" }

func (census) Run(ctx context.Context, config *rest.Config, ready func()) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	list, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	fmt.Println(len(list.Items), "namespaces")
	ready()
	<-ctx.Done() // returning earlier is a failure
	return nil
}

func ExampleComponent() {
	server, err := controlplane.Start(context.Background(), controlplane.Config{
		Components: []controlplane.Component{census{}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	// Output: 4 namespaces
}
