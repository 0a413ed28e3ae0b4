// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	"github.com/kubembed/kubembed/internal/apiserver/encryption"
	"github.com/kubembed/kubembed/internal/storage"
)

// Reencrypt rewrites the stored objects that are not stored as Config.Encryption
// requires: objects in plaintext or encrypted with another key than the first, and with
// WritePlaintext all encrypted objects. When it returns nil, every other key can be
// removed from Keys. Objects keep their content and get a new resource version, as by an
// update that changes nothing; admission and validation do not see them. Reencrypt may be
// called at any time, more than once, and on several servers at once. A call that was
// interrupted can be repeated, and continues. It returns the number of objects that it
// has written. Without Encryption it does nothing.
func (s *Server) Reencrypt(ctx context.Context) (int, error) {
	if s.generic.encryption == nil {
		return 0, nil
	}
	return s.generic.encryption.Reencrypt(ctx, s.backend.Client(), s.backend.Keyspace(), s.generic.client.Discovery())
}

// ErrUndecryptable is returned by New and Start when Config.Encryption lacks a key with
// which a stored object was encrypted.
var ErrUndecryptable = encryption.ErrUndecryptable

// loadEncryption loads Config.Encryption, and returns an error if its keys cannot decrypt
// all stored objects.
func loadEncryption(ctx context.Context, drained <-chan struct{}, cfg Config, serverID string, backend *storage.Backend) (*encryption.Transformers, error) {
	if cfg.Transformers != nil {
		return nil, nil
	}
	config := cfg.Encryption.withDefaults()
	transformers, err := encryption.Load(drained, encryption.Config{
		Providers:      config.providers(),
		Resources:      config.Resources,
		WritePlaintext: config.WritePlaintext,
		Dir:            cfg.Dir,
		ServerID:       serverID,
	})
	if err != nil {
		return nil, err
	}
	return transformers, encryption.Check(ctx, backend.Client(), backend.Keyspace(), transformers)
}
