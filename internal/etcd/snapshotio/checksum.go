// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package snapshotio reads and writes the format of "etcdctl snapshot save": the file of
// a database, then its SHA-256.
package snapshotio

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Reader reads a database of known size and then its SHA-256.
type Reader struct {
	db   io.Reader
	left int64 // of the database
	sum  hash.Hash
	sent io.Reader // reads the expected sum, or nil
	rest []byte    // of the sum
	err  error     // returned at the end
}

// NewReader returns a Reader of the size bytes of db. If sent is not nil, it reads the
// expected checksum.
func NewReader(db io.Reader, size int64, sent io.Reader) *Reader {
	return &Reader{db: db, left: size, sum: sha256.New(), sent: sent}
}

func (s *Reader) Read(p []byte) (int, error) {
	if s.left > 0 {
		n, err := s.db.Read(p[:min(int64(len(p)), s.left)])
		s.sum.Write(p[:n])
		s.left -= int64(n)
		switch {
		case s.left > 0 && errors.Is(err, io.EOF):
			return n, Error(io.ErrUnexpectedEOF)
		case s.left > 0:
			return n, err
		}
		s.rest = s.sum.Sum(nil)
		s.err = s.check()
		return n, nil
	}
	if s.err != nil {
		return 0, s.err
	}
	n := copy(p, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.err = io.EOF
	}
	return n, nil
}

// check compares the sum with the sent one.
func (s *Reader) check() error {
	if s.sent == nil {
		return nil
	}
	sent := make([]byte, sha256.Size)
	if _, err := io.ReadFull(s.sent, sent); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Error(err)
	}
	if !bytes.Equal(sent, s.rest) {
		return Error(errors.New("it was damaged in transit: its SHA-256 differs from the one that the server sent"))
	}
	return nil
}

// Error returns err as an error of a snapshot.
func Error(err error) error { return fmt.Errorf("etcd: snapshot: %w", err) }
