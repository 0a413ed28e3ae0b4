// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/util/keyutil"
)

func TestServiceAccountKeyRotation(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, Config{Dir: dir}).ServiceAccountKey().Public()
	remove(t, dir, "sa.key")
	second := mustOpen(t, Config{Dir: dir}).ServiceAccountKey().Public()
	if samePublicKey(first, second) {
		t.Fatal("the deleted key is back")
	}
	for range 2 {
		p := mustOpen(t, Config{Dir: dir})
		public := p.ServiceAccountPublicKeys()
		if len(public) != 2 || !samePublicKey(public[0], second) || !samePublicKey(public[1], first) {
			t.Fatalf("got %d keys, want the second and the first", len(public))
		}
	}

	// Without sa.pub, only the keys in sa.key are valid.
	remove(t, dir, "sa.pub")
	if public := mustOpen(t, Config{Dir: dir}).ServiceAccountPublicKeys(); len(public) != 1 || !samePublicKey(public[0], second) {
		t.Errorf("got %d keys, want only the second", len(public))
	}
	if readAll(t, dir)["sa.pub"] == "" {
		t.Error("Open did not write sa.pub")
	}

	// Several keys in sa.key: the first signs.
	extra, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "sa.key", append(extra, readAll(t, dir)["sa.key"]...))
	p := mustOpen(t, Config{Dir: dir})
	public := p.ServiceAccountPublicKeys()
	if len(public) != 2 || !samePublicKey(public[0], p.ServiceAccountKey().Public()) || !samePublicKey(public[1], second) {
		t.Errorf("got %d keys, want the added one and the second", len(public))
	}
}

func TestDamagedServiceAccountKeys(t *testing.T) {
	for _, name := range []string{"sa.key", "sa.pub"} {
		for what, cut := range map[string]func(data string) string{
			"empty":        func(string) string { return "" },
			"half":         func(data string) string { return data[:len(data)/2] },
			"half another": func(data string) string { return data + data[:len(data)/2] },
			"wrong bytes":  func(data string) string { return strings.Replace(data, "M", "A", 1) },
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				dir := t.TempDir()
				mustOpen(t, Config{Dir: dir})
				write(t, dir, name, []byte(cut(readAll(t, dir)[name])))
				_, err := Open(Config{Dir: dir})
				if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, name)) || !strings.Contains(err.Error(), "delete it") {
					t.Fatalf("error %v", err)
				}
				remove(t, dir, name)
				mustOpen(t, Config{Dir: dir})
			})
		}
	}
}
