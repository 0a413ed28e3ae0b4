// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshotio_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/kubembed/kubembed/internal/etcd/snapshotio"
)

// database has the size of a database of two pages.
var database = bytes.Repeat([]byte("database"), 1024)

// summed appends the checksum of a snapshot.
func summed(db []byte) []byte {
	sum := sha256.Sum256(db)
	return append(bytes.Clone(db), sum[:]...)
}

func TestReader(t *testing.T) {
	sum := sha256.Sum256(database)
	size := int64(len(database))
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		db, sent io.Reader
		want     error
	}{
		"without a sent sum": {bytes.NewReader(database), nil, nil},
		"with a sent sum":    {bytes.NewReader(database), bytes.NewReader(sum[:]), nil},
		"byte by byte":       {iotest.OneByteReader(bytes.NewReader(database)), iotest.OneByteReader(bytes.NewReader(sum[:])), nil},
		"a larger file":      {io.MultiReader(bytes.NewReader(database), strings.NewReader("more")), nil, nil},
		"a short database":   {bytes.NewReader(database[:size-1]), bytes.NewReader(sum[:]), io.ErrUnexpectedEOF},
		"no database":        {bytes.NewReader(nil), nil, io.ErrUnexpectedEOF},
		"a broken database":  {io.MultiReader(bytes.NewReader(database[:100]), iotest.ErrReader(broken)), nil, broken},
		"no sum":             {bytes.NewReader(database), bytes.NewReader(nil), io.ErrUnexpectedEOF},
		"half a sum":         {bytes.NewReader(database), bytes.NewReader(sum[:16]), io.ErrUnexpectedEOF},
		"a broken sum":       {bytes.NewReader(database), iotest.ErrReader(broken), broken},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := io.ReadAll(snapshotio.NewReader(c.db, size, c.sent))
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want == nil && !bytes.Equal(got, summed(database)) {
				t.Errorf("got %d bytes, want the database and its sum, %d bytes", len(got), size+sha256.Size)
			}
		})
	}
}

// TestReaderRefusesAnotherSum: the reader of a damaged database gets an error and no sum.
func TestReaderRefusesAnotherSum(t *testing.T) {
	sum := sha256.Sum256(database)
	damaged := bytes.Clone(database)
	damaged[5000] ^= 1
	r := snapshotio.NewReader(bytes.NewReader(damaged), int64(len(damaged)), bytes.NewReader(sum[:]))
	got, err := io.ReadAll(r)
	if err == nil || !strings.Contains(err.Error(), "damaged in transit") || len(got) != len(damaged) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if n, again := r.Read(make([]byte, 1)); n != 0 || again == nil || again.Error() != err.Error() {
		t.Errorf("the next read: %d bytes, %v, want %v", n, again, err)
	}
}

func TestVerify(t *testing.T) {
	whole := summed(database)
	flipped := bytes.Clone(whole)
	flipped[5000] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want string // in the Damage; empty if there is none
	}{
		"whole":                   {whole, ""},
		"empty":                   {nil, "it has 0 bytes"},
		"only a sum":              {summed(nil), "it has 32 bytes"},
		"without its sum":         {database, "which is not a database with a checksum"},
		"truncated":               {whole[:len(whole)/3], "which is not a database with a checksum"},
		"truncated by a sector":   {whole[:len(whole)-512], "is not that of its"},
		"changed":                 {flipped, "is not that of its"},
		"another database's sum":  {append(bytes.Clone(database), make([]byte, sha256.Size)...), "is not that of its"},
		"of a page and a sum":     {summed(database[:4096]), ""},
		"of no full sector, sum":  {summed(database[:4000]), "which is not a database with a checksum"},
		"two snapshots in a file": {append(bytes.Clone(whole), whole...), "which is not a database with a checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "snapshot.db")
			if err := snapshotio.Receive(t.Context(), path, bytes.NewReader(c.data)); err != nil {
				t.Fatal(err)
			}
			err := snapshotio.Verify(path)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.As(err, new(snapshotio.Damage)) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a Damage with %q", err, c.want)
			}
		})
	}
	// A file that cannot be read is no damage of the snapshot.
	err := snapshotio.Verify(filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, new(snapshotio.Damage)) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestReceive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot.db")
	if err := snapshotio.Receive(t.Context(), path, bytes.NewReader(database)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want mode 0600: a snapshot has Secrets", info, err)
	}
	if err := snapshotio.Receive(t.Context(), path, strings.NewReader("other")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing file: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, database) {
		t.Errorf("the existing file has %d bytes, %v", len(got), err)
	}

	broken := errors.New("broken")
	if err := snapshotio.Receive(t.Context(), path+"2", iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("a broken reader: %v", err)
	}
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	source := readerFunc(func(p []byte) (int, error) { // it never ends by itself
		cancel(stopped)
		return len(p), nil
	})
	if err := snapshotio.Receive(ctx, path+"3", source); !errors.Is(err, stopped) {
		t.Errorf("an ended context: got %v, want its cause", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
