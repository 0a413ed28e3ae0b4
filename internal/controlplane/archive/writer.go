// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package archive is the format of snapshots of a control plane: a tar archive with a
// description, a snapshot of etcd, the CAs and service-account keys, checksums, and a MAC
// if there is a key.
package archive

import (
	"archive/tar"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"
)

// The entries of a snapshot in their order. macEntry may follow. A snapshot without
// sumsEntry was truncated.
const (
	aboutEntry    = "snapshot.json"
	databaseEntry = "etcd.db"
	pkiEntry      = "pki.pem"
	sumsEntry     = "SHA256SUMS"
)

// format changes when older versions can no longer restore what newer versions write.
const format = 1

// About describes a snapshot. It is aboutEntry in JSON.
type About struct {
	Format     int       `json:"format"`
	Kubernetes string    `json:"kubernetes"`
	Etcd       string    `json:"etcd"`
	Time       time.Time `json:"time"`
	// Prefix, ServiceCIDR and SecondaryServiceCIDR are the ones in Config, for the next
	// start.
	Prefix               string `json:"prefix"`
	ServiceCIDR          string `json:"serviceCIDR"`
	SecondaryServiceCIDR string `json:"secondaryServiceCIDR,omitempty"`
	// Revision is that of etcd. The database may have a few more.
	Revision int64 `json:"revision"`
}

// Content is what Write archives.
type Content struct {
	About    About // Write sets Format
	Database io.Reader
	Size     int64 // of Database, in bytes
	PKI      []byte
}

// Write writes a snapshot. With a key, of at least MinKey bytes, it adds a MAC.
func Write(w io.Writer, now time.Time, key []byte, c Content) error {
	c.About.Format = format
	description, err := json.MarshalIndent(c.About, "", "  ")
	if err != nil {
		return err
	}
	description = append(description, '\n')
	a := newWriter(w, now, key)
	a.add(aboutEntry, int64(len(description)), bytes.NewReader(description))
	a.add(databaseEntry, c.Size, c.Database)
	a.add(pkiEntry, int64(len(c.PKI)), bytes.NewReader(c.PKI))
	return a.close()
}

// writer writes entries until the first error.
type writer struct {
	tar  *tar.Writer
	time time.Time
	sums bytes.Buffer
	mac  hash.Hash // of everything written so far; nil without a key
	err  error
}

func newWriter(w io.Writer, now time.Time, key []byte) *writer {
	a := &writer{time: now.Truncate(time.Second)}
	if len(key) > 0 {
		a.mac = hmac.New(sha256.New, key)
		w = io.MultiWriter(w, a.mac)
	}
	a.tar = tar.NewWriter(w)
	return a
}

func (a *writer) add(name string, size int64, r io.Reader) {
	if a.err != nil {
		return
	}
	if a.err = a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: a.time}); a.err != nil {
		return
	}
	sum := sha256.New()
	if _, a.err = io.Copy(io.MultiWriter(a.tar, sum), r); a.err == nil {
		a.sums.WriteString(sumLine(name, sum))
	}
}

func (a *writer) close() error {
	a.add(sumsEntry, int64(a.sums.Len()), bytes.NewReader(bytes.Clone(a.sums.Bytes())))
	a.sign()
	if a.err != nil {
		return a.err
	}
	return a.tar.Close()
}

// sumLine returns a line in the format of sha256sum.
func sumLine(name string, sum hash.Hash) string { return fmt.Sprintf("%x  %s\n", sum.Sum(nil), name) }
