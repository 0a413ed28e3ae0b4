package etcd

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
)

// summed reads a database of known size and then its SHA-256.
type summed struct {
	db   io.Reader
	left int64 // of the database
	sum  hash.Hash
	sent io.Reader // where the sum can be read that must be the same, or nil
	rest []byte    // of the sum
	err  error     // what comes at the end
}

func newSummed(db io.Reader, size int64, sent io.Reader) *summed {
	return &summed{db: db, left: size, sum: sha256.New(), sent: sent}
}

func (s *summed) Read(p []byte) (int, error) {
	if s.left > 0 {
		n, err := s.db.Read(p[:min(int64(len(p)), s.left)])
		s.sum.Write(p[:n])
		s.left -= int64(n)
		switch {
		case s.left > 0 && errors.Is(err, io.EOF):
			return n, snapshotError(io.ErrUnexpectedEOF)
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

// check compares the sum with the one that was sent.
func (s *summed) check() error {
	if s.sent == nil {
		return nil
	}
	sent := make([]byte, sha256.Size)
	if _, err := io.ReadFull(s.sent, sent); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return snapshotError(err)
	}
	if !bytes.Equal(sent, s.rest) {
		return snapshotError(errors.New("it was damaged on its way: its SHA-256 is not the one that the server sent"))
	}
	return nil
}
