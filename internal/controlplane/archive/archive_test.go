// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package archive_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/controlplane/archive"
	"github.com/kubembed/kubembed/pkg/etcd"
)

var (
	now      = time.Unix(1_700_000_000, 0)
	key      = bytes.Repeat([]byte("k"), archive.MinKey)
	database = bytes.Repeat([]byte("db"), 1000)
	bundle   = []byte("keys")
)

func snapshot(t testing.TB, key []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	content := archive.Content{
		About:    archive.About{Kubernetes: "v1.37.2", Prefix: "/registry", Revision: 7},
		Database: bytes.NewReader(database), Size: int64(len(database)), PKI: bundle,
	}
	if err := archive.Write(&b, now, key, content); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns the parts of a snapshot, as Restore reads them.
func read(data, key []byte) (about archive.About, db, keys []byte, err error) {
	r := archive.NewReader(bytes.NewReader(data), key)
	defer func() { err = r.Vouched(err) }()
	if about, err = r.About(); err != nil {
		return
	}
	source, err := r.Database()
	if err != nil {
		return
	}
	if db, err = io.ReadAll(source); err != nil {
		return
	}
	keys, err = r.Rest()
	return
}

func TestWriteAndRead(t *testing.T) {
	for name, key := range map[string][]byte{"with a key": key, "without": nil} {
		data := snapshot(t, key)
		if !archive.IsArchive(data) {
			t.Errorf("%s: IsArchive = false, want true", name)
		}
		about, db, keys, err := read(data, key)
		if err != nil || about.Revision != 7 || !bytes.Equal(db, database) || !bytes.Equal(keys, bundle) {
			t.Errorf("%s: got %+v, %d bytes, %q, error %v", name, about, len(db), keys, err)
		}
	}
	if _, _, _, err := read(snapshot(t, nil), key); !errors.Is(err, archive.ErrNotAuthentic) {
		t.Errorf("without a MAC: got error %v, want ErrNotAuthentic", err)
	}
}

// FuzzRead changes a snapshot. Bytes that a MAC does not vouch for are never accepted,
// and without a key changed parts are not.
func FuzzRead(f *testing.F) {
	whole := snapshot(f, key)
	f.Add(0, byte(0), len(whole))
	f.Add(0, byte(1), len(whole))
	f.Add(700, byte(0xff), len(whole))
	f.Add(1600, byte(1), len(whole))
	f.Add(0, byte(0), 512)
	f.Add(0, byte(0), len(whole)-600)
	f.Fuzz(func(t *testing.T, at int, flip byte, length int) {
		if at < 0 || at >= len(whole) || length < 0 || length > len(whole) {
			return
		}
		data := slices.Clone(whole[:length])
		if at < length {
			data[at] ^= flip
		}
		for name, key := range map[string][]byte{"with a key": key, "without": nil} {
			_, db, keys, err := read(data, key)
			switch {
			case err == nil && (!bytes.Equal(db, database) || !bytes.Equal(keys, bundle)):
				t.Errorf("%s: a changed snapshot is accepted", name)
			case err != nil && key != nil && !errors.Is(err, archive.ErrNotAuthentic) && !errors.Is(err, etcd.ErrCorrupt) && !archive.Truncated(err):
				t.Errorf("%s: got error %v, want one about damage", name, err)
			}
		}
	})
}
