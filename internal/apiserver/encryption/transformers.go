// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package encryption encrypts objects on their way to etcd with upstream's transformers.
// It loads the keys, reports stored objects that no key decrypts, and encrypts stored
// objects again after the first key has changed.
package encryption

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	storagevalue "k8s.io/apiserver/pkg/storage/value"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Config selects the resources to encrypt, and the keys.
type Config struct {
	// Providers have the keys: the first encrypts, all of them decrypt. If empty, nothing
	// is encrypted.
	Providers []apiserverv1.ProviderConfiguration
	// Resources are encrypted. They are named as in upstream's EncryptionConfiguration.
	Resources []string
	// WritePlaintext writes all resources in plaintext. Providers still decrypt.
	WritePlaintext bool
	// Dir is a private directory for a temporary file.
	Dir string
	// ServerID is the ID of the API server, for upstream's metrics.
	ServerID string
}

// Transformers encrypt and decrypt objects.
type Transformers struct {
	// ByResource are upstream's transformers for the API server's storage.
	ByResource encryptionconfig.StaticTransformers
	// HealthChecks check the KMS plugins. They are empty without a KMS.
	HealthChecks []healthz.HealthChecker

	config Config
	keys   storagevalue.Transformer // writes with the first key, reads with all and plaintext
}

// allResources is upstream's "*.*".
var allResources = schema.GroupResource{Group: "*", Resource: "*"}

// encryptedPrefix begins the values that upstream's transformers write, and no other
// value.
var encryptedPrefix = []byte("k8s:enc:")

// Load is maybeApplyResourceTransformers of k8s.io/apiserver/pkg/server/options. It
// returns nil if config has no keys. The connections to a KMS end when drained is closed.
func Load(drained <-chan struct{}, config Config) (*Transformers, error) {
	if len(config.Providers) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(config.upstream())
	if err != nil {
		return nil, fieldpath.New("apiserver", "Config.Encryption", "%w", err)
	}
	var loaded *encryptionconfig.EncryptionConfiguration
	if err := asFile(config.Dir, data, func(path string) error {
		loaded, err = encryptionconfig.LoadEncryptionConfig(wait.ContextForChannel(drained), path, false, config.ServerID)
		return err
	}); err != nil {
		return nil, fieldpath.New("apiserver", "Config.Encryption", "%w", err)
	}
	t := &Transformers{config: config, keys: loaded.Transformers[allResources]}
	for _, provider := range config.Providers {
		if provider.KMS != nil {
			t.HealthChecks = loaded.HealthChecks // upstream has one without a KMS too
		}
	}
	t.ByResource = encryptionconfig.StaticTransformers{allResources: decryptOnly{t.keys}}
	if !config.WritePlaintext {
		for _, resource := range config.Resources {
			t.ByResource[schema.ParseGroupResource(resource)] = t.keys
		}
	}
	return t, nil
}

// upstream is the configuration for kube-apiserver, with all keys for all resources.
func (c Config) upstream() *apiserverv1.EncryptionConfiguration {
	plaintext := apiserverv1.ProviderConfiguration{Identity: &apiserverv1.IdentityConfiguration{}}
	return &apiserverv1.EncryptionConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "EncryptionConfiguration"},
		Resources: []apiserverv1.ResourceConfiguration{{
			Resources: []string{"*.*"},
			Providers: append(slices.Clip(c.Providers), plaintext),
		}},
	}
}

// asFile calls read with the name of a file that has data and can be read once. The keys
// in data should not reach the disk that they protect: the file is a pipe where the
// system names pipes in the file system, and otherwise a file that is removed when read
// returns.
func asFile(dir string, data []byte, read func(path string) error) error {
	if r, w, err := os.Pipe(); err == nil {
		defer func() { _ = r.Close() }()
		name := fmt.Sprintf("/dev/fd/%d", r.Fd())
		if info, err := os.Stat(name); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
			written := make(chan struct{})
			go func() {
				defer close(written)
				_, _ = w.Write(data) // a partial write is not valid JSON
				_ = w.Close()
			}()
			err := read(name)
			_ = r.Close() // ends a Write that has no reader
			<-written
			return err
		}
		_ = w.Close()
	}
	path := filepath.Join(dir, "encryption.json")
	defer func() { _ = os.Remove(path) }()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	return read(path)
}

// decryptOnly is the transformer of resources that are not encrypted, but may have been.
type decryptOnly struct{ keys storagevalue.Transformer }

func (d decryptOnly) TransformFromStorage(ctx context.Context, data []byte, at storagevalue.Context) ([]byte, bool, error) {
	if !bytes.HasPrefix(data, encryptedPrefix) {
		return data, false, nil
	}
	out, _, err := d.keys.TransformFromStorage(ctx, data, at)
	return out, true, err
}

func (d decryptOnly) TransformToStorage(_ context.Context, data []byte, _ storagevalue.Context) ([]byte, error) {
	return data, nil
}

// encrypts reports whether objects of a resource are written encrypted.
func (t *Transformers) encrypts(resource schema.GroupResource) bool {
	for _, rule := range []schema.GroupResource{resource, {Group: resource.Group, Resource: "*"}, allResources} {
		if transformer, ok := t.ByResource[rule]; ok {
			return transformer == t.keys
		}
	}
	return false
}

// kmsTimeout is how long a start waits for a KMS, which may be starting at the same time.
const kmsTimeout = 15 * time.Second

// waitKMS returns when all KMS plugins answer. Upstream asks them only in its readiness
// checks.
func (t *Transformers) waitKMS(ctx context.Context) error {
	if len(t.HealthChecks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	// The checks use only the context of the request.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return err
	}
	var unhealthy error
	if err := lifecycle.Poll(ctx, func() bool {
		unhealthy = nil
		for _, check := range t.HealthChecks {
			unhealthy = errors.Join(unhealthy, check.Check(request))
		}
		return unhealthy == nil
	}); err != nil {
		return fieldpath.New("apiserver", "Config.Encryption", "the KMS does not answer: is its plugin running, and is KMS.Endpoint its socket? %w: %w", err, unhealthy)
	}
	return nil
}
