// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestRollbackWaitsForWrites: the object of a request in flight is gone after the
// rollback.
func TestRollbackWaitsForWrites(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	saved := checkpoint(t, server)
	client, err := rest.HTTPClientFor(server.ClientConfig())
	if err != nil {
		t.Fatal(err)
	}
	body, write := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.ClientConfig().Host+"/api/v1/namespaces/default/configmaps", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	created := make(chan error, 1)
	go func() {
		response, err := client.Do(request)
		if err == nil {
			err = response.Body.Close()
			if response.StatusCode != http.StatusCreated {
				t.Errorf("create: got %s, want 201", response.Status)
			}
		}
		created <- err
	}()
	if _, err := io.WriteString(write, `{"apiVersion": "v1", "kind": "ConfigMap", `); err != nil { // The server reads it.
		t.Fatal(err)
	}
	// A rollback that does not wait ends earlier.
	time.AfterFunc(50*time.Millisecond, func() {
		_, err := io.WriteString(write, `"metadata": {"name": "late"}}`)
		_ = write.CloseWithError(err)
	})
	restore(t, saved)
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	if _, err := admin(t, server).CoreV1().ConfigMaps("default").Get(t.Context(), "late", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the object that was written during the rollback: got %v, want not found", err)
	}
}
