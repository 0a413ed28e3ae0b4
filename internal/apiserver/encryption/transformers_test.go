// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	storagevalue "k8s.io/apiserver/pkg/storage/value"
)

func secretbox(name, secret string) apiserverv1.ProviderConfiguration {
	keys := []apiserverv1.Key{{Name: name, Secret: base64.StdEncoding.EncodeToString([]byte(secret))}}
	return apiserverv1.ProviderConfiguration{Secretbox: &apiserverv1.SecretboxConfiguration{Keys: keys}}
}

func load(t *testing.T, config Config) *Transformers {
	t.Helper()
	drained := make(chan struct{})
	t.Cleanup(func() { close(drained) })
	config.Dir = t.TempDir()
	transformers, err := Load(drained, config)
	if err != nil {
		t.Fatal(err)
	}
	return transformers
}

func TestLoadWithoutKeys(t *testing.T) {
	t.Parallel()
	if transformers := load(t, Config{Resources: []string{"secrets"}}); transformers != nil {
		t.Errorf("got %v, want nil", transformers)
	}
}

func TestEncrypts(t *testing.T) {
	t.Parallel()
	secrets := schema.GroupResource{Resource: "secrets"}
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	widgets := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	for _, test := range []struct {
		resources string
		plaintext bool
		want      []schema.GroupResource
	}{
		{resources: "secrets", want: []schema.GroupResource{secrets}},
		{resources: "*.apps", want: []schema.GroupResource{deployments}},
		{resources: "secrets widgets.example.com", want: []schema.GroupResource{secrets, widgets}},
		{resources: "*.*", want: []schema.GroupResource{secrets, deployments, widgets}},
		{resources: "*.*", plaintext: true},
	} {
		transformers := load(t, Config{
			Providers:      []apiserverv1.ProviderConfiguration{secretbox("a", strings.Repeat("k", 32))},
			Resources:      strings.Fields(test.resources),
			WritePlaintext: test.plaintext,
		})
		var got []schema.GroupResource
		for _, resource := range []schema.GroupResource{secrets, deployments, widgets} {
			if transformers.encrypts(resource) {
				got = append(got, resource)
			}
		}
		if len(got) != len(test.want) {
			t.Errorf("Resources %q, WritePlaintext %v: got %v encrypted, want %v", test.resources, test.plaintext, got, test.want)
		}
	}
}

func TestUndecryptableObject(t *testing.T) {
	t.Parallel()
	const key = "/registry/secrets/default/password"
	first := load(t, Config{Providers: []apiserverv1.ProviderConfiguration{secretbox("first", strings.Repeat("1", 32))}})
	value, err := first.keys.TransformToStorage(t.Context(), []byte("object"), storagevalue.DefaultContext(key))
	if err != nil {
		t.Fatal(err)
	}
	stored := &mvccpb.KeyValue{Key: []byte(key), Value: value}
	if err := checkDecryptable(t.Context(), stored, first.keys); err != nil {
		t.Errorf("with the key: %v", err)
	}
	second := load(t, Config{Providers: []apiserverv1.ProviderConfiguration{secretbox("second", strings.Repeat("2", 32))}})
	err = checkDecryptable(t.Context(), stored, second.keys)
	if !errors.Is(err, ErrUndecryptable) || !strings.Contains(err.Error(), `a secretbox key named "first"`) {
		t.Errorf("with another key: got %v, want ErrUndecryptable that names the key", err)
	}
	plaintext := &mvccpb.KeyValue{Key: []byte(key), Value: []byte("object")}
	if err := checkDecryptable(t.Context(), plaintext, noKeys{}); err != nil {
		t.Errorf("plaintext without keys: %v", err)
	}
}

func TestDecryptOnly(t *testing.T) {
	t.Parallel()
	transformers := load(t, Config{Providers: []apiserverv1.ProviderConfiguration{secretbox("a", strings.Repeat("k", 32))}})
	at := storagevalue.DefaultContext("/registry/configmaps/default/config")
	encrypted, err := transformers.keys.TransformToStorage(t.Context(), []byte("object"), at)
	if err != nil {
		t.Fatal(err)
	}
	unencrypted := transformers.ByResource.TransformerForResource(schema.GroupResource{Resource: "configmaps"})
	for name, test := range map[string]struct {
		stored string
		stale  bool
	}{"encrypted": {string(encrypted), true}, "plaintext": {"object", false}} {
		got, stale, err := unencrypted.TransformFromStorage(context.Background(), []byte(test.stored), at)
		if err != nil || string(got) != "object" || stale != test.stale {
			t.Errorf("%s: got %q, stale %v, %v; want the object, stale %v", name, got, stale, err, test.stale)
		}
	}
	if got, err := unencrypted.TransformToStorage(t.Context(), []byte("object"), at); err != nil || string(got) != "object" {
		t.Errorf("write: got %q, %v; want plaintext", got, err)
	}
}

func TestAsFileLeavesNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := asFile(dir, []byte("data"), func(path string) error {
		data, err := os.ReadFile(path)
		if err == nil && string(data) != "data" {
			t.Errorf("got %q, want the data", data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("got %v, %v, want an empty directory", entries, err)
	}
}
