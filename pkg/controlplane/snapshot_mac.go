package controlplane

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// macEntry is the last entry of a snapshot that was taken with a key: the HMAC-SHA-256
// of every byte of the archive before it, in hexadecimal. So it covers the names, sizes
// and order of the other entries too.
const macEntry = "HMAC-SHA256"

// minSnapshotKey is the length of the hash, below which RFC 2104 discourages keys.
const minSnapshotKey = sha256.Size

// tarBlock is what archives are made of; two empty ones end them.
const tarBlock = 512

// ErrNotAuthentic is the error of Restore for a snapshot that RestoreConfig.Key does not
// vouch for: it was taken without a key or with another one, or was changed or cut short.
var ErrNotAuthentic = errors.New("the snapshot is not authentic")

// notAuthentic is ErrNotAuthentic with its cause.
func notAuthentic(cause error) error { return fmt.Errorf("%w: %w", ErrNotAuthentic, cause) }

var (
	errNoMAC = errors.New("it has no MAC: it was taken without Config.SnapshotKey, or the MAC was removed; " +
		"only if you know where it comes from, restore it without RestoreConfig.Key")
	errOtherMAC = errors.New("its MAC is not that of RestoreConfig.Key: it was changed, or taken with another Config.SnapshotKey")
)

// validateSnapshotKey never shows the key. One that is empty but not nil was read from the
// wrong file, say, and must not switch the check off.
func validateSnapshotKey(at *field.Path, key []byte) field.ErrorList {
	if key == nil || len(key) >= minSnapshotKey {
		return nil
	}
	return field.ErrorList{field.Invalid(at, fmt.Sprintf("(%d bytes)", len(key)),
		fmt.Sprintf("must have at least %d bytes, random ones, as of crypto/rand", minSnapshotKey))}
}

// sign adds the MAC of the bytes written so far.
func (a *archive) sign() {
	if a.mac == nil || a.err != nil {
		return
	}
	if a.err = a.tar.Flush(); a.err != nil {
		return
	}
	text := hex.EncodeToString(a.mac.Sum(nil)) + "\n"
	a.add(macEntry, int64(len(text)), strings.NewReader(text))
}

// authenticator is the reader below the entries of a snapshot. With a key it computes
// the MAC of the bytes read.
type authenticator struct {
	r    io.Reader
	mac  hash.Hash // nil without a key
	n    int64     // bytes read
	stop int64     // where the MAC ends, if known
	ok   bool      // the MAC has been found right
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

// verify reads what follows the sums, which have been read, to the end.
func (a *authenticator) verify(entries *unarchive) error {
	if a.mac == nil {
		return nil
	}
	// From the next block on the archive is not covered.
	a.stop = (a.n + tarBlock - 1) / tarBlock * tarBlock
	header, err := entries.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return notAuthentic(errNoMAC)
	case err != nil:
		return corruptSnapshot(err)
	case header.Name != macEntry:
		return notAuthentic(fmt.Errorf("it has %q where its MAC should be", header.Name))
	}
	want := hex.EncodeToString(a.mac.Sum(nil)) + "\n"
	got, err := io.ReadAll(io.LimitReader(entries.tar, int64(len(want))+1))
	if err != nil {
		return corruptSnapshot(err)
	}
	if !hmac.Equal([]byte(want), got) {
		return notAuthentic(errOtherMAC)
	}
	return a.end(entries)
}

// end checks that nothing is after the MAC but the end of the archive.
func (a *authenticator) end(entries *unarchive) error {
	end := (a.n+tarBlock-1)/tarBlock*tarBlock + 2*tarBlock
	if header, err := entries.tar.Next(); err == nil {
		return notAuthentic(fmt.Errorf("it has %q after its MAC", header.Name))
	} else if !errors.Is(err, io.EOF) {
		return corruptSnapshot(err)
	}
	if a.n != end {
		return corruptSnapshot(io.ErrUnexpectedEOF)
	}
	switch n, err := io.ReadFull(a, make([]byte, 1)); {
	case n > 0:
		return notAuthentic(errors.New("there is more after its end"))
	case !errors.Is(err, io.EOF):
		return err
	}
	a.ok = true
	return nil
}

// vouched adds ErrNotAuthentic to the error about a damaged snapshot, where there is a
// key and no MAC has confirmed the bytes read so far.
func (a *authenticator) vouched(err error) error {
	if a.mac == nil || a.ok || !errors.Is(err, etcd.ErrCorrupt) || errors.Is(err, ErrNotAuthentic) {
		return err
	}
	return notAuthentic(err)
}
