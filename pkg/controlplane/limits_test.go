// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestLargeBodies: a higher limit for bodies also raises the limit of etcd, so that
// objects of this size can be stored, and survive a restart.
func TestLargeBodies(t *testing.T) {
	cfg := controlplane.Config{DataDir: filepath.Join(t.TempDir(), "data"), Limits: apiserver.Limits{MaxRequestBodyBytes: 8 << 20}}
	server := start(t, cfg)
	createWidgets(t, server)
	sized := func(name string, bytes int) *unstructured.Unstructured {
		widget := newWidget(name)
		widget.Object["spec"] = map[string]any{"size": strings.Repeat("x", bytes)}
		return widget
	}
	client := widgets(t, server)
	if _, err := client.Create(t.Context(), sized("large", 7<<20), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := client.Create(t.Context(), sized("too-large", 8<<20), metav1.CreateOptions{})
	wantStatus(t, "a body above the limit", err, http.StatusRequestEntityTooLarge)
	closeServer(t, server)

	server = start(t, cfg)
	stored, err := widgets(t, server).Get(t.Context(), "large", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if size, _, _ := unstructured.NestedString(stored.Object, "spec", "size"); len(size) != 7<<20 {
		t.Errorf("the object has %d bytes, want all of them", len(size))
	}
}
