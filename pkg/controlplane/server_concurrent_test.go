// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestManyAtOnce runs control planes side by side in this process. They do not see each
// other's objects.
func TestManyAtOnce(t *testing.T) {
	const planes = 20
	goroutines, temp := goleak.IgnoreCurrent(), ownTemp(t)
	var (
		servers [planes]*controlplane.Server
		all     sync.WaitGroup
	)
	for i := range planes {
		all.Go(func() {
			server, err := controlplane.Start(t.Context(), controlplane.Config{})
			if err != nil {
				t.Errorf("Start: %v", err)
				return
			}
			servers[i] = server
			client, err := kubernetes.NewForConfig(server.ClientConfig())
			if err != nil {
				t.Error(err)
				return
			}
			// The same name in each, and one that only this has.
			for _, name := range []string{"same", fmt.Sprint("only-in-", i)} {
				if _, err := client.CoreV1().Pods("default").Create(t.Context(), newPod(name), metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	urls := map[string]bool{}
	for i, server := range servers {
		if server == nil {
			continue
		}
		want := []string{fmt.Sprint("only-in-", i), "same"}
		if got := podNames(t, admin(t, server)); !slices.Equal(got, want) {
			t.Errorf("pods in-process: %v, want %v", got, want)
		}
		if got := podNames(t, overTLS(t, server, "admin", "system:masters")); !slices.Equal(got, want) {
			t.Errorf("pods over TLS: %v, want %v", got, want)
		}
		urls[server.URL()] = true
	}
	if len(urls) != planes {
		t.Errorf("%d control planes: got %d URLs, want one each", planes, len(urls))
	}
	// A stopped control plane does not affect the others.
	for i, server := range servers {
		if server != nil && i%2 == 0 {
			all.Go(func() { closeServer(t, server) })
		}
	}
	all.Wait()
	for i, server := range servers {
		if server != nil && i%2 == 1 {
			createPod(t, admin(t, server), "afterwards")
			all.Go(func() { closeServer(t, server) })
		}
	}
	all.Wait()
	if left := entries(t, temp); len(left) != 0 {
		t.Errorf("left behind: got %v, want nothing", left)
	}
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
}
