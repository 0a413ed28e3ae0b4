// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Cluster starts three control planes that form one cluster: each has an etcd member,
// serves the same objects, and may fail. The example runs them in one process. In
// production each runs on its own machine, and three lines differ: DataDir, Name and the
// addresses.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/pki"
)

// members are the addresses at which the etcd members reach each other.
var members = map[string]string{"a": "127.0.0.1:22380", "b": "127.0.0.1:22381", "c": "127.0.0.1:22382"}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "cluster-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// All members have the same CAs and keys. Create them once, and keep the export
	// secret.
	identities, err := pki.Open(pki.Config{})
	if err != nil {
		return err
	}
	shared, err := identities.Export()
	if err != nil {
		return err
	}

	cps := map[string]*controlplane.Server{}
	var mu sync.Mutex
	defer func() {
		for _, cp := range cps {
			err = errors.Join(err, cp.Close())
		}
	}()
	var starts errgroup.Group // a member is ready when more than half of them are up
	for name, address := range members {
		starts.Go(func() error {
			cp, err := controlplane.Start(ctx, controlplane.Config{
				DataDir: filepath.Join(dir, name),
				PKI:     shared,
				Etcd:    controlplane.Etcd{Name: name, PeerAddr: address, InitialCluster: members},
			})
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			cps[name] = cp
			return nil
		})
	}
	if err := starts.Wait(); err != nil {
		return err
	}

	greeting := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "greeting"}, Data: map[string]string{"text": "hello"}}
	if _, err := configMaps(cps["a"]).Create(ctx, greeting, metav1.CreateOptions{}); err != nil {
		return err
	}
	fmt.Fprintln(out, "written through a")
	if err := cps["a"].Close(); err != nil {
		return err
	}
	for _, name := range []string{"b", "c"} {
		got, err := configMaps(cps[name]).Get(ctx, "greeting", metav1.GetOptions{})
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "without a, read through", name+":", got.Data["text"])
	}
	return nil
}

func configMaps(cp *controlplane.Server) corev1client.ConfigMapInterface {
	return kubernetes.NewForConfigOrDie(cp.ClientConfig()).CoreV1().ConfigMaps("default")
}
