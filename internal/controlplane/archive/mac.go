// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// macEntry is the last entry of a snapshot that was taken with a key: the HMAC-SHA-256 of
// every byte of the archive before it, in hexadecimal. It covers the names, sizes and
// order of the other entries too.
const macEntry = "HMAC-SHA256"

// MinKey is the shortest key, in bytes: the length of the hash. RFC 2104 discourages
// shorter keys.
const MinKey = sha256.Size

// tarBlock is the size of a block of a tar archive. Two empty blocks end the archive.
const tarBlock = 512

// ErrNotAuthentic is returned for a snapshot that the key does not authenticate.
var ErrNotAuthentic = errors.New("the snapshot is not authentic")

// NotAuthentic returns ErrNotAuthentic with its cause.
func NotAuthentic(cause error) error { return fmt.Errorf("%w: %w", ErrNotAuthentic, cause) }

var (
	// ErrNoMAC is the cause for a snapshot without a MAC.
	ErrNoMAC = fieldpath.Errorf("it has no MAC: it was taken without %s, or the MAC was removed; "+
		"if you trust its origin, restore it without %s", fieldpath.Name("Config.SnapshotKey"), fieldpath.Name("RestoreConfig.Key"))
	errOtherMAC = fieldpath.Errorf("its MAC is not that of %s: it was changed, or taken with another %s",
		fieldpath.Name("RestoreConfig.Key"), fieldpath.Name("Config.SnapshotKey"))
)

// sign adds the MAC of the bytes written so far.
func (a *writer) sign() {
	if a.mac == nil || a.err != nil {
		return
	}
	if a.err = a.tar.Flush(); a.err != nil {
		return
	}
	text := hex.EncodeToString(a.mac.Sum(nil)) + "\n"
	a.add(macEntry, int64(len(text)), strings.NewReader(text))
}

// authenticator reads an archive. With a key it computes the MAC of the bytes read.
type authenticator struct {
	r    io.Reader
	mac  hash.Hash // nil without a key
	n    int64     // bytes read
	stop int64     // offset where the bytes under the MAC end, if known
	ok   bool      // the MAC is verified
}

func newAuthenticator(r io.Reader, key []byte) *authenticator {
	a := &authenticator{r: r}
	if len(key) > 0 {
		a.mac = hmac.New(sha256.New, key)
	}
	return a
}

func (a *authenticator) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if a.mac != nil {
		covered := int64(n)
		if a.stop > 0 {
			covered = min(covered, max(0, a.stop-a.n))
		}
		a.mac.Write(p[:covered])
	}
	a.n += int64(n)
	return n, err
}

// verify reads from the end of sumsEntry to the end of the archive, and checks the MAC.
func (a *authenticator) verify(entries *Reader) error {
	if a.mac == nil {
		return nil
	}
	// The MAC covers the archive up to the next block.
	a.stop = (a.n + tarBlock - 1) / tarBlock * tarBlock
	header, err := entries.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return NotAuthentic(ErrNoMAC)
	case err != nil:
		return Corrupt(err)
	case header.Name != macEntry:
		return NotAuthentic(fmt.Errorf("it has %q in place of its MAC", header.Name))
	}
	want := hex.EncodeToString(a.mac.Sum(nil)) + "\n"
	got, err := io.ReadAll(io.LimitReader(entries.tar, int64(len(want))+1))
	if err != nil {
		return Corrupt(err)
	}
	if !hmac.Equal([]byte(want), got) {
		return NotAuthentic(errOtherMAC)
	}
	return a.end(entries)
}

// end checks that only the end of the archive follows the MAC.
func (a *authenticator) end(entries *Reader) error {
	end := (a.n+tarBlock-1)/tarBlock*tarBlock + 2*tarBlock
	if header, err := entries.tar.Next(); err == nil {
		return NotAuthentic(fmt.Errorf("it has %q after its MAC", header.Name))
	} else if !errors.Is(err, io.EOF) {
		return Corrupt(err)
	}
	if a.n != end {
		return Corrupt(io.ErrUnexpectedEOF)
	}
	switch n, err := io.ReadFull(a, make([]byte, 1)); {
	case n > 0:
		return NotAuthentic(errors.New("there are bytes after its end"))
	case !errors.Is(err, io.EOF):
		return err
	}
	a.ok = true
	return nil
}

// vouched is Reader.Vouched.
func (a *authenticator) vouched(err error) error {
	if a.mac == nil || a.ok || !errors.Is(err, etcd.ErrCorrupt) || errors.Is(err, ErrNotAuthentic) {
		return err
	}
	return NotAuthentic(err)
}
