// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// An API server with the caller's etcd and identities. controlplane.Start does it in one
// call.
func Example() {
	if err := example(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// default: Active
	// kube-node-lease: Active
	// kube-public: Active
	// kube-system: Active
}

func example() error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	member, err := etcd.Start(ctx, etcd.Config{Dir: filepath.Join(dir, "etcd"), Ephemeral: true})
	if err != nil {
		return err
	}
	defer member.Close()
	identities, err := pki.Open(pki.Config{})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server, err := apiserver.New(apiserver.Config{
		Listener: listener,
		Client:   member.Client(),
		Dial:     member.DialContext,
		PKI:      identities,
		Dir:      dir,
	})
	if err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = server.Stop(ctx) }()

	client, err := kubernetes.NewForConfig(server.ClientConfig())
	if err != nil {
		return err
	}
	namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, ns := range namespaces.Items {
		fmt.Printf("%s: %s\n", ns.Name, ns.Status.Phase)
	}
	return nil
}
