// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshotio

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// Receive stores the snapshot that r reads in a new file.
func Receive(ctx context.Context, path string, r io.Reader) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, ContextReader(ctx, r)); err != nil {
		return fmt.Errorf("reading the snapshot: %w", err)
	}
	return nil
}

// Verify checks the SHA-256 at the end of a snapshot file. It returns a Damage if the
// snapshot is incomplete or changed.
func Verify(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if size <= sha256.Size {
		return Damage{fmt.Errorf("it has %d bytes", size)}
	}
	// Databases consist of pages, whose size is a multiple of a disk's sector.
	if size%512 != sha256.Size {
		return Damage{fmt.Errorf("it has %d bytes, which is not a database with a checksum: it was truncated, or is a file from a data directory; take it with etcdctl snapshot save", size)}
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size-sha256.Size)); err != nil {
		return err
	}
	want := make([]byte, sha256.Size)
	if _, err := file.ReadAt(want, size-sha256.Size); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return Damage{fmt.Errorf("the SHA-256 at its end is not that of its %d bytes: it was truncated or changed", size)}
	}
	return nil
}

// Damage is the error of an incomplete or changed snapshot.
type Damage struct{ error }

func (d Damage) Unwrap() error { return d.error }
