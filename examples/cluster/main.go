// Cluster starts three control planes that are one cluster: each has an etcd member
// in it, serves the same objects, and may fail. Here they are in one process; in
// earnest each is on a machine of its own, and three lines differ: DataDir, Name and
// the addresses.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
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
	members, err := addresses("a", "b", "c")
	if err != nil {
		return err
	}
	// What all have in common. It is made once, and as secret as its keys.
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
	var starts errgroup.Group // each waits until more than half are there
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

// addresses finds a free port for each.
func addresses(names ...string) (map[string]string, error) {
	found := map[string]string{}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		found[name] = l.Addr().String()
	}
	return found, nil
}
