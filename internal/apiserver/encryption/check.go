// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	storagevalue "k8s.io/apiserver/pkg/storage/value"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/keyspace"
)

// ErrUndecryptable is returned when no key decrypts a stored object.
var ErrUndecryptable = errors.New("cannot be decrypted")

// Check returns ErrUndecryptable if keys are missing from t, which may be nil. It waits
// for the KMS first. A start that goes on without a key hangs: the watch cache of a
// resource with one unreadable object never becomes ready, and upstream does not log why.
func Check(ctx context.Context, client *clientv3.Client, keys keyspace.Keyspace, t *Transformers) error {
	secrets := schema.GroupResource{Resource: "secrets"}
	if t == nil {
		// Encryption may have been switched off too early. One page of Secrets is enough:
		// a server that writes Secrets in plaintext cannot start without reading them.
		_, err := readPage(ctx, client, keys.ResourcePrefix(secrets), keys.ResourcePrefix(secrets), func(kv *mvccpb.KeyValue) error {
			return checkDecryptable(ctx, kv, noKeys{})
		})
		return err
	}
	if err := t.waitKMS(ctx); err != nil {
		return err
	}
	prefixes := keys.ResourcePrefixes(secrets)
	for _, name := range t.config.Resources {
		resource := schema.ParseGroupResource(name)
		if resource.Resource == "*" {
			prefixes = []string{keys.Prefix()}
			break
		}
		prefixes = append(prefixes, keys.ResourcePrefixes(resource)...)
	}
	slices.Sort(prefixes)
	for _, prefix := range slices.Compact(prefixes) {
		if err := readAll(ctx, client, prefix, func(kv *mvccpb.KeyValue) error { return checkDecryptable(ctx, kv, t.keys) }); err != nil {
			return err
		}
	}
	return nil
}

func checkDecryptable(ctx context.Context, kv *mvccpb.KeyValue, keys storagevalue.Transformer) error {
	if !bytes.HasPrefix(kv.Value, encryptedPrefix) {
		return nil
	}
	if _, _, err := keys.TransformFromStorage(ctx, kv.Value, storagevalue.DefaultContext(kv.Key)); err != nil {
		return fieldpath.New("apiserver", "Config.Encryption", "%s %w: it was encrypted with a key that is not in %s, or is damaged: "+
			"add the key, after the first if that is to write (%s): %w", kv.Key, ErrUndecryptable, fieldpath.Name("Config.Encryption.Keys"), keyOf(kv.Value), err)
	}
	return nil
}

// keyOf describes the key of an encrypted value, like `a secretbox key named "1a2b3c4d"`.
// Type and name of a key are stored in plaintext.
func keyOf(value []byte) string {
	parts := strings.SplitN(string(value[:min(len(value), 300)]), ":", 6)
	if len(parts) < 6 {
		return "it does not say which"
	}
	return fmt.Sprintf("a %s key named %q", parts[2], parts[4])
}

// noKeys is a transformer that decrypts nothing.
type noKeys struct{}

func (noKeys) TransformFromStorage(context.Context, []byte, storagevalue.Context) ([]byte, bool, error) {
	return nil, false, errors.New("there are no keys")
}

func (noKeys) TransformToStorage(context.Context, []byte, storagevalue.Context) ([]byte, error) {
	return nil, errors.New("there are no keys")
}

const (
	// pageSize is the number of objects in one read, and pageTimeout bounds the read.
	pageSize    = 100
	pageTimeout = 10 * time.Second
)

// readAll calls visit for each key below prefix. It reads page by page: a key of a later
// page may change in the meantime.
func readAll(ctx context.Context, client *clientv3.Client, prefix string, visit func(*mvccpb.KeyValue) error) error {
	for next := prefix; next != ""; {
		var err error
		if next, err = readPage(ctx, client, prefix, next, visit); err != nil {
			return err
		}
	}
	return nil
}

// readPage calls visit for each key of the page that begins at from. next is where the
// following page begins, or empty.
func readPage(ctx context.Context, client *clientv3.Client, prefix, from string, visit func(*mvccpb.KeyValue) error) (next string, err error) {
	pageCtx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	page, err := client.Get(pageCtx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(pageSize))
	if err != nil {
		return "", fmt.Errorf("apiserver: reading %s: %w", prefix, err)
	}
	for _, kv := range page.Kvs {
		if err := visit(kv); err != nil {
			return "", err
		}
	}
	if !page.More {
		return "", nil
	}
	return string(page.Kvs[len(page.Kvs)-1].Key) + "\x00", nil
}
