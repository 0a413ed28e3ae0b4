// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// endedWatches returns the number of watches of ConfigMaps that upstream's watch cache
// has ended because their clients did not read.
func endedWatches(t *testing.T) (n float64) {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "apiserver_terminated_watchers_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "resource" && label.GetValue() == "configmaps" {
					n += metric.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// TestSlowWatchEnds: a watch that is not read ends, in this process as over TLS, by
// upstream's watch cache. Its client gets the pending events and then the end of the
// stream, without an error, from where reflectors resume. A watch of the bench ended so
// at event 438 of 5,000.
func TestSlowWatchEnds(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	kubeconfig, err := server.Kubeconfig("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	for path, config := range map[string]*rest.Config{"memory": server.ClientConfig(), "tls": fromKubeconfig(t, kubeconfig)} {
		client := clientFor(t, config).CoreV1().ConfigMaps("default")
		before := endedWatches(t)
		watching, err := client.Watch(t.Context(), metav1.ListOptions{LabelSelector: "path=" + path})
		if err != nil {
			t.Fatal(err)
		}
		written := 0
		for deadline := time.Now().Add(time.Minute); endedWatches(t) == before; written++ {
			if time.Now().After(deadline) {
				t.Fatalf("%s: got a watch that goes on after %d events, want it ended", path, written)
			}
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(path, written), Labels: map[string]string{"path": path}},
				Data: map[string]string{"x": strings.Repeat("x", 200<<10)}}
			if _, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		read := 0
		for event := range watching.ResultChan() {
			if event.Type != watch.Added {
				t.Errorf("%s: event %d: got %+v, want ADDED", path, read, event)
			}
			read++
		}
		if read == 0 || read >= written {
			t.Errorf("%s: %d of %d events, want the first of them", path, read, written)
		}
		if err := client.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "path=" + path}); err != nil {
			t.Error(err)
		}
	}
}
