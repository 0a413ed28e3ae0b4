package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// writeSnapshot stores a snapshot, and checks the SHA-256 at its end.
func writeSnapshot(path string, r io.Reader) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err := io.Copy(file, r)
	if err != nil {
		return fmt.Errorf("reading the snapshot: %w", err)
	}
	if size <= sha256.Size {
		return damaged(fmt.Errorf("it has %d bytes", size))
	}
	// Databases are made of pages, which are multiples of a disk's sector.
	if size%512 != sha256.Size {
		return damaged(fmt.Errorf("it has %d bytes, which is no database with a checksum: it was cut short, or is a file from a data directory; take it with etcdctl snapshot save", size))
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
		return damaged(fmt.Errorf("the SHA-256 at its end is not that of its %d bytes: it was cut short, or changed", size))
	}
	return nil
}

// damaged says that the snapshot is, and nothing about the directory in which it was
// found out.
func damaged(err error) error {
	if err == nil || errors.Is(err, ErrNewerVersion) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		if causes := several.Unwrap(); len(causes) == 2 && errors.Is(causes[0], ErrCorrupt) {
			err = causes[1]
		}
	}
	return fmt.Errorf("the snapshot: %w: %w", errDamaged, err)
}

// errDamaged is ErrCorrupt in other words.
var errDamaged error = damagedError{}

type damagedError struct{}

func (damagedError) Error() string        { return "it is damaged" }
func (damagedError) Is(target error) bool { return target == ErrCorrupt }

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
