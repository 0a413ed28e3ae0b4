// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"testing"

	secretstore "k8s.io/kubernetes/pkg/registry/core/secret/storage"

	"github.com/kubembed/kubembed/internal/storage"
)

// TestPatienceFindsSettings: upstream does not export the settings of a watch cache.
func TestPatienceFindsSettings(t *testing.T) {
	secrets, err := secretstore.NewREST(start(t).getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer secrets.Destroy()
	if !storage.BePatient(secrets.Storage.Storage) {
		t.Error("the settings were not found")
	}
}
