// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"sync"
	"testing"
)

func TestConcurrentUse(t *testing.T) {
	p := mustOpen(t, Config{Dir: t.TempDir()})
	roots := pool(t, p.CABundle())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				kp, err := p.IssueClient("jane", []string{"admins"}, 0)
				if err != nil {
					t.Error(err)
					return
				}
				cert, err := kp.TLS()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
					t.Error(err)
				}
				if _, err := p.Renew(); err != nil {
					t.Error(err)
				}
				if len(p.Serving().Cert) == 0 {
					t.Error("no serving certificate")
				}
			}
		})
	}
	wg.Wait()
}
