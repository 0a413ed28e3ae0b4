package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	storagevalue "k8s.io/apiserver/pkg/storage/value"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// ErrUndecryptable says that Config.Encryption lacks a key that something stored
// was encrypted with.
var ErrUndecryptable = errors.New("cannot be decrypted")

const (
	// kmsTimeout is how long a start waits for a KMS that may be starting itself.
	kmsTimeout = 15 * time.Second
	// storedPage is how many objects are read at once, and storedTimeout how long that
	// may take.
	storedPage    = 100
	storedTimeout = 10 * time.Second
)

// encrypt prepares encryption, and finds what cannot be decrypted: the watch cache
// of a resource of which one object cannot be read is never ready, and says so
// nowhere.
func (g *generic) encrypt() (err error) {
	if g.config.Transformers != nil {
		return nil
	}
	if g.encryption, err = newEncryption(g.drained, g.config.Encryption, g.config.Dir, g.server.APIServerID); err != nil {
		return err
	}
	ctx, e := g.ctx, g.encryption
	if err := g.waitKMS(ctx); err != nil {
		return err
	}
	keys, secrets := g.backend.Keyspace(), schema.GroupResource{Resource: "secrets"}
	if e == nil {
		// Keys that are no longer there. One page shows it: all that could write
		// secrets in the clear meanwhile cannot read them.
		return g.stored(ctx, keys.ResourcePrefix(secrets), func(kv *mvccpb.KeyValue) error {
			return decryptable(ctx, kv, noKeys{})
		}, 1)
	}
	below := keys.ResourcePrefixes(secrets)
	for _, name := range e.Resources {
		resource := schema.ParseGroupResource(name)
		if resource.Resource == "*" {
			below = []string{keys.Prefix()}
			break
		}
		below = append(below, keys.ResourcePrefixes(resource)...)
	}
	slices.Sort(below)
	for _, prefix := range slices.Compact(below) {
		if err := g.stored(ctx, prefix, func(kv *mvccpb.KeyValue) error { return decryptable(ctx, kv, e.keys) }, 0); err != nil {
			return err
		}
	}
	return nil
}

// waitKMS asks until a KMS answers, which upstream would do in its readiness check
// alone.
func (g *generic) waitKMS(ctx context.Context) error {
	if g.encryption == nil || len(g.encryption.kms) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	// The checks look at its context only.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return err
	}
	var last error
	if err := lifecycle.Poll(ctx, func() bool {
		last = nil
		for _, check := range g.encryption.kms {
			last = errors.Join(last, check.Check(request))
		}
		return last == nil
	}); err != nil {
		return fieldpath.New("apiserver", "Config.Encryption", "the KMS does not answer: is its plugin running, and is KMS.Endpoint its socket? %w: %w", err, last)
	}
	return nil
}

func decryptable(ctx context.Context, kv *mvccpb.KeyValue, keys storagevalue.Transformer) error {
	if !bytes.HasPrefix(kv.Value, encryptedPrefix) {
		return nil
	}
	if _, _, err := keys.TransformFromStorage(ctx, kv.Value, storagevalue.DefaultContext(kv.Key)); err != nil {
		return fieldpath.New("apiserver", "Config.Encryption", "%s %w: it was encrypted with a key that is not in Keys, or is damaged: "+
			"add the key, after the first if that is to write (%s): %w", kv.Key, ErrUndecryptable, encryptedBy(kv.Value), err)
	}
	return nil
}

// encryptedBy is what a stored object says of its key, "secretbox key 1a2b3c4d", which
// is no secret.
func encryptedBy(value []byte) string {
	parts := strings.SplitN(string(value[:min(len(value), 300)]), ":", 6)
	if len(parts) < 6 {
		return "it does not say which"
	}
	return fmt.Sprintf("a %s key named %q", parts[2], parts[4])
}

// noKeys decrypts nothing.
type noKeys struct{}

func (noKeys) TransformFromStorage(context.Context, []byte, storagevalue.Context) ([]byte, bool, error) {
	return nil, false, errors.New("there are no keys")
}

func (noKeys) TransformToStorage(context.Context, []byte, storagevalue.Context) ([]byte, error) {
	return nil, errors.New("there are no keys")
}

// stored calls visit for each key below prefix, of which later ones may change
// meanwhile, for so many pages, or all if that is zero.
func (g *generic) stored(ctx context.Context, prefix string, visit func(*mvccpb.KeyValue) error, pages int) error {
	end := clientv3.GetPrefixRangeEnd(prefix)
	for from, page := prefix, 1; ; page++ {
		pageCtx, cancel := context.WithTimeout(ctx, storedTimeout)
		got, err := g.backend.Client().Get(pageCtx, from, clientv3.WithRange(end), clientv3.WithLimit(storedPage))
		cancel()
		if err != nil {
			return fmt.Errorf("apiserver: reading %s: %w", prefix, err)
		}
		for _, kv := range got.Kvs {
			if err := visit(kv); err != nil {
				return err
			}
		}
		if !got.More || page == pages {
			return nil
		}
		from = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
	}
}
