// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// IsArchive reports whether head, the first 512 bytes of a file, is of a tar archive.
func IsArchive(head []byte) bool { return len(head) >= 262 && string(head[257:262]) == "ustar" }

// Truncated reports whether err is an error of package tar about its input.
func Truncated(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, tar.ErrHeader)
}

// Corrupt returns an error that is etcd.ErrCorrupt, about a snapshot.
func Corrupt(err error) error {
	return corruptError{fmt.Errorf("the snapshot was truncated or changed: %w", err)}
}

type corruptError struct{ error }

func (corruptError) Is(target error) bool { return target == etcd.ErrCorrupt }
func (d corruptError) Unwrap() error      { return d.error }

// Reader reads the entries of a snapshot in their order.
type Reader struct {
	source *authenticator
	tar    *tar.Reader
	name   string
	sum    hash.Hash
	sums   strings.Builder
}

// NewReader returns a Reader that authenticates the snapshot with key, unless key is
// empty.
func NewReader(r io.Reader, key []byte) *Reader {
	source := newAuthenticator(r, key)
	return &Reader{source: source, tar: tar.NewReader(source)}
}

// next returns the next entry, which must have this name.
func (a *Reader) next(name string) (io.Reader, error) {
	a.finish()
	header, err := a.tar.Next()
	if errors.Is(err, io.EOF) {
		return nil, Corrupt(fmt.Errorf("%s is missing", name))
	}
	if err != nil {
		return nil, Corrupt(err)
	}
	if header.Name != name {
		return nil, Corrupt(fmt.Errorf("there is %q where %s should be", header.Name, name))
	}
	a.name, a.sum = name, sha256.New()
	return io.TeeReader(a.tar, a.sum), nil
}

// Vouched adds ErrNotAuthentic to an error about a damaged snapshot, if there is a key
// and no MAC has confirmed the bytes read so far.
func (a *Reader) Vouched(err error) error { return a.source.vouched(err) }

// finish records the checksum of the entry that was read.
func (a *Reader) finish() {
	if a.sum != nil {
		a.sums.WriteString(sumLine(a.name, a.sum))
		a.sum = nil
	}
}

// small reads an entry other than the database.
func (a *Reader) small(name string) ([]byte, error) {
	r, err := a.next(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, Corrupt(err)
	}
	return data, nil
}

// About reads the description. It is called first.
func (a *Reader) About() (about About, err error) {
	data, err := a.small(aboutEntry)
	if err != nil {
		return about, err
	}
	if err := json.Unmarshal(data, &about); err != nil {
		return about, Corrupt(fmt.Errorf("%s: %w", aboutEntry, err))
	}
	if about.Format != format {
		return about, fmt.Errorf("the snapshot is of format %d, taken with Kubernetes %s, and this version knows format %d: restore it with the version that took it", about.Format, about.Kubernetes, format)
	}
	return about, nil
}

// Database returns the snapshot of etcd. It is called after About.
func (a *Reader) Database() (io.Reader, error) { return a.next(databaseEntry) }

// Rest reads the entries after the database to the end of the archive. It returns the CAs
// and keys if the snapshot is complete and unchanged.
func (a *Reader) Rest() ([]byte, error) {
	bundle, err := a.small(pkiEntry)
	if err != nil {
		return nil, err
	}
	a.finish()
	want := a.sums.String()
	got, err := a.small(sumsEntry)
	if err != nil {
		return nil, err
	}
	if want != string(got) {
		return nil, Corrupt(fmt.Errorf("its files do not have the checksums in %s", sumsEntry))
	}
	return bundle, a.source.verify(a)
}
