// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/kubembed/kubembed/internal/apiserver/encryption"
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
	if s.encryption == nil {
		return 0, nil
	}
	written := 0
	for _, client := range s.backend.Clients() {
		n, err := s.encryption.Reencrypt(ctx, client, s.backend.Keyspace(), s.client.Discovery())
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// ErrUndecryptable is returned by New and Start when Config.Encryption lacks a key with
// which a stored object was encrypted.
var ErrUndecryptable = encryption.ErrUndecryptable

// configureEncryption loads Config.Encryption, and returns an error if its keys cannot
// decrypt all stored objects. configureStorage applies it.
func configureEncryption(e *environment, c *genericapiserver.Config) (*encryption.Transformers, error) {
	if e.config.Transformers != nil {
		return nil, nil
	}
	config := e.config.Encryption.withDefaults()
	transformers, err := encryption.Load(e.drained, encryption.Config{
		Providers:      config.providers(),
		Resources:      config.Resources,
		WritePlaintext: config.WritePlaintext,
		Dir:            e.config.Dir,
		ServerID:       c.APIServerID,
	})
	if err != nil {
		return nil, err
	}
	for _, client := range e.backend.Clients() {
		if err := encryption.Check(e.ctx, client, e.backend.Keyspace(), transformers); err != nil {
			return transformers, err
		}
	}
	return transformers, nil
}
