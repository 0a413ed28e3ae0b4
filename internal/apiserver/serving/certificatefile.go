// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/util/filesystem"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/ownership"
)

// CertificateFile is a certificate with its chain, and its key, in PEM.
type CertificateFile struct {
	Field             string // of CertFile in the configuration, for errors
	KeyField          string // of KeyFile
	CertFile, KeyFile string
	Names             []string // for which it is shown. If empty, those in the certificate.
}

// FileError is an error of the files of a field.
type FileError struct {
	Field string
	Err   error
}

func (e *FileError) Error() string { return e.Field + ": " + e.Err.Error() }

func (e *FileError) Unwrap() error { return e.Err }

// KeyError is an error of KeyFile alone.
type KeyError struct{ Err error }

func (e *KeyError) Error() string { return e.Err.Error() }

func (e *KeyError) Unwrap() error { return e.Err }

// fieldOf returns the field that an error of Check is about.
func (f CertificateFile) fieldOf(err error) string {
	if about := (*KeyError)(nil); errors.As(err, &about) {
		return f.KeyField
	}
	return f.Field
}

// Check returns why the files cannot be used.
func (f CertificateFile) Check() error {
	cert, key, err := f.read()
	if err != nil {
		return err
	}
	return f.check(cert, key)
}

// read reads the files. Others must not be able to read the key.
func (f CertificateFile) read() (cert, key []byte, err error) {
	if err := ownership.File(f.CertFile); err != nil {
		return nil, nil, err
	}
	if cert, err = os.ReadFile(f.CertFile); err != nil {
		return nil, nil, err
	}
	if key, err = os.ReadFile(f.KeyFile); err != nil {
		return nil, nil, &KeyError{err}
	}
	// The mode of a certificate must not be the error.
	switch certHas, keyHas := kindOf(cert), kindOf(key); {
	case keyHas == aCertificate && certHas == aKey:
		return nil, nil, fmt.Errorf("%s has a key, and %s a certificate: they are swapped", f.CertFile, f.KeyFile)
	case keyHas == aCertificate:
		return nil, nil, &KeyError{fmt.Errorf("%s has a certificate and no key: name the file with the key in PEM", f.KeyFile)}
	}
	if err := ownership.Secret(f.KeyFile); err != nil {
		return nil, nil, &KeyError{err}
	}
	return cert, key, nil
}

// kind is what a file in PEM has.
type kind int

const (
	neither kind = iota
	aCertificate
	aKey
	both
)

func kindOf(content []byte) (k kind) {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE":
			k |= aCertificate
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			k |= aKey
		}
	}
	return k
}

// check returns why a certificate and a key cannot be used.
func (f CertificateFile) check(cert, key []byte) error {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s and %s: %w: it must be a certificate in PEM, followed by its intermediate CAs, and its key", f.CertFile, f.KeyFile, err)
	}
	switch now := time.Now(); {
	case now.After(pair.Leaf.NotAfter):
		return fmt.Errorf("%s: the certificate expired at %s: renew it", f.CertFile, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		return fmt.Errorf("%s: the certificate is valid from %s, and it is %s: wait, or set the clock", f.CertFile,
			pair.Leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// certificateFile adds checks to upstream's files. It keeps the content that passed them.
type certificateFile struct {
	*dynamiccertificates.DynamicFileSNIContent
	CertificateFile
	accepted atomic.Pointer[pair]
}

type pair struct{ cert, key []byte }

func openFile(from CertificateFile) (*certificateFile, error) {
	if err := from.Check(); err != nil { // upstream leaks a goroutine if it cannot read them
		return nil, err
	}
	content, err := dynamiccertificates.NewDynamicSNIContentFromFiles("serving-cert", from.CertFile, from.KeyFile, from.Names...)
	if err != nil {
		return nil, err
	}
	f := &certificateFile{DynamicFileSNIContent: content, CertificateFile: from}
	cert, key := content.CurrentCertKeyContent()
	f.accepted.Store(&pair{cert, key})
	return f, nil
}

// CurrentCertKeyContent implements upstream's CertKeyContentProvider.
func (f *certificateFile) CurrentCertKeyContent() (cert, key []byte) {
	p := f.accepted.Load()
	return p.cert, p.key
}

// reload reads the files again. After an error the accepted content stays.
func (f *certificateFile) reload(ctx context.Context) (changed bool, err error) {
	if err := f.Check(); err != nil {
		return false, err
	}
	if err := f.RunOnce(ctx); err != nil {
		return false, err
	}
	cert, key := f.DynamicFileSNIContent.CurrentCertKeyContent()
	if err := f.check(cert, key); err != nil { // they have changed in between
		return false, err
	}
	before := f.accepted.Swap(&pair{cert, key})
	return string(before.cert) != string(cert) || string(before.key) != string(key), nil
}

// fingerprint distinguishes contents of the files.
func (f CertificateFile) fingerprint() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, file := range []string{f.CertFile, f.KeyFile} {
		content, err := os.ReadFile(file)
		_, _ = fmt.Fprintf(h, "%d %v\n", len(content), errors.Is(err, fs.ErrNotExist))
		_, _ = h.Write(content)
	}
	h.Sum(sum[:0])
	return sum
}

// Reloads counts the reloads of files. It is safe for concurrent use.
type Reloads struct{ succeeded, failed atomic.Int64 }

// Reloads returns the numbers of reloads of changed files so far, and whether there are
// files.
func (c *Certificates) Reloads() (succeeded, failed int64, files bool) {
	return c.reloads.succeeded.Load(), c.reloads.failed.Load(), len(c.files) > 0
}

const (
	// pollInterval is for file systems without notifications. It is upstream's.
	pollInterval = time.Minute
	// settleTime is the time in which a change of files may be completed: a program
	// writes the certificate, then the key.
	settleTime = 2 * time.Second
	// settleRetry is the time until the next try.
	settleRetry = 50 * time.Millisecond
)

// Follow reloads the files when they change, until ctx ends. Clients with a connection
// keep it.
func (c *Certificates) Follow(ctx context.Context) {
	if len(c.files) == 0 {
		return
	}
	var watches lifecycle.Group
	for _, file := range c.files {
		changed := make(chan struct{}, 1)
		for _, path := range []string{file.CertFile, file.KeyFile} {
			watches.Go(func() {
				filesystem.WatchUntil(ctx, pollInterval, path, func() {
					select {
					case changed <- struct{}{}:
					default:
					}
				}, nil) // a missing file is reported by the reload
			})
		}
		watches.Go(func() { c.follow(ctx, file, changed) })
	}
	<-ctx.Done()
	_ = watches.Wait(context.WithoutCancel(ctx))
}

// follow reloads a file after each change, and reports a failure once.
func (c *Certificates) follow(ctx context.Context, file *certificateFile, changed <-chan struct{}) {
	var reported [sha256.Size]byte // the content of the last failure
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		err := c.settle(ctx, file, changed)
		switch content := file.fingerprint(); {
		case ctx.Err() != nil:
			return
		case err == nil:
			reported = [sha256.Size]byte{}
		case content != reported:
			reported = content
			c.reloads.failed.Add(1)
			c.options.Logger.Error("the changed serving certificate cannot be used: the former one stays",
				zap.String("field", file.Field), zap.String("certificate", file.CertFile), zap.String("key", file.KeyFile), zap.Error(err))
		}
	}
}

// settle reloads a file until that succeeds, or a change has had time to be completed.
func (c *Certificates) settle(ctx context.Context, file *certificateFile, changed <-chan struct{}) error {
	for deadline := time.Now().Add(settleTime); ; {
		err := c.reload(ctx, file)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		timer := time.NewTimer(settleRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (c *Certificates) reload(ctx context.Context, file *certificateFile) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := file.reload(ctx)
	if err == nil && changed {
		if err = c.controller.RunOnce(); err == nil {
			c.reloads.succeeded.Add(1)
			c.options.Logger.Info("serving certificate reloaded", zap.String("field", file.Field), zap.String("certificate", file.CertFile))
		}
	}
	return err
}
