// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/files"
)

func export(t *testing.T, p *PKI) []byte {
	t.Helper()
	bundle, err := p.Export()
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// sameCAs reports whether a and b belong to one cluster.
func sameCAs(t *testing.T, a, b *PKI) bool {
	t.Helper()
	return bytes.Equal(export(t, a), export(t, b))
}

func TestImport(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			from := mustOpen(t, Config{Dir: dir})
			bundle := export(t, from)

			inMemory := mustOpen(t, Config{Import: bundle})
			if !sameCAs(t, inMemory, from) {
				t.Error("in memory: got other CAs, want those of the bundle")
			}
			to := filepath.Join(t.TempDir(), "deep", "pki")
			first := mustOpen(t, Config{Dir: to, Import: bundle})
			if !sameCAs(t, first, from) {
				t.Error("in a directory: got other CAs, want those of the bundle")
			}
			if same(first.Serving(), from.Serving()) {
				t.Error("the serving certificate is shared")
			}
			if err := mustTLS(t, first.Serving()).Leaf.CheckSignatureFrom(from.CA().Cert); err != nil {
				t.Error(err)
			}
			// The next Open keeps them, with and without Import.
			files := readAll(t, to)
			for _, cfg := range []Config{{Dir: to}, {Dir: to, Import: bundle}} {
				mustOpen(t, cfg)
				if !maps.Equal(readAll(t, to), files) {
					t.Error("the second Open wrote")
				}
			}
		})
	}
}

// The bundle has all trusted CAs.
func TestImportOfRotatedCAs(t *testing.T) {
	dir := t.TempDir()
	old := mustOpen(t, Config{Dir: dir})
	remove(t, dir, "ca.crt", "ca.key", "apiserver.crt", "apiserver-kubelet-client.crt", "sa.key")
	mustOpen(t, Config{Dir: dir})
	write(t, dir, "ca.crt", slices.Concat([]byte(readAll(t, dir)["ca.crt"]), old.CABundle()))
	rotated := mustOpen(t, Config{Dir: dir})
	p := mustOpen(t, Config{Dir: t.TempDir(), Import: export(t, rotated)})
	if !bytes.Equal(p.CABundle(), rotated.CABundle()) || bytes.Equal(p.CA().PEM(), old.CA().PEM()) {
		t.Error("the bundle differs")
	}
	if len(p.ServiceAccountPublicKeys()) != 2 || !samePublicKey(p.ServiceAccountKey().Public(), rotated.ServiceAccountKey().Public()) {
		t.Errorf("got %d service-account keys, want 2", len(p.ServiceAccountPublicKeys()))
	}
	// A server that is a step behind keeps its own.
	behind := t.TempDir()
	mustOpen(t, Config{Dir: behind, Import: export(t, old)})
	if q := mustOpen(t, Config{Dir: behind, Import: export(t, rotated)}); !sameCAs(t, q, old) {
		t.Error("Open replaced the CAs of the directory")
	}
	// A key that was deleted for a rotation does not come back.
	remove(t, behind, "sa.key")
	q := mustOpen(t, Config{Dir: behind, Import: export(t, old)})
	if samePublicKey(q.ServiceAccountKey().Public(), old.ServiceAccountKey().Public()) {
		t.Error("the deleted key is back")
	}
}

func TestImportOfAnotherCluster(t *testing.T) {
	bundle := export(t, mustOpen(t, Config{}))
	for _, name := range []string{"ca.crt", "front-proxy-ca.crt", "kubelet-serving-ca.crt", "etcd/ca.crt", "sa.pub"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustOpen(t, Config{Dir: dir})
			own := readAll(t, dir)
			// Only this file differs from the bundle.
			keep := []string{name, strings.TrimSuffix(name, ".crt") + ".key", "sa.key"}
			for file := range own {
				if !slices.Contains(keep, file) || file == "sa.key" && name != "sa.pub" {
					remove(t, dir, file)
				}
			}
			before := readAll(t, dir)
			_, err := Open(Config{Dir: dir, Import: bundle})
			if !errors.Is(err, ErrOtherCA) || !strings.Contains(err.Error(), filepath.Join(dir, filepath.FromSlash(name))) || !strings.Contains(err.Error(), "leave Import empty") {
				t.Errorf("error %v", err)
			}
			if !maps.Equal(readAll(t, dir), before) {
				t.Error("the directory was changed")
			}
		})
	}
}

// A crash or an error in the first start with Import is repaired by the next.
func TestInterruptedImport(t *testing.T) {
	bundle := export(t, mustOpen(t, Config{}))
	complete := t.TempDir()
	var order []string
	if _, err := open(Config{Dir: complete, Import: bundle}.withDefaults(), &store{dir: complete, write: func(path string, data []byte, perm fs.FileMode) error {
		name, err := filepath.Rel(complete, path)
		order = append(order, filepath.ToSlash(name))
		return errors.Join(err, files.WriteAtomic(path, data, perm))
	}}); err != nil {
		t.Fatal(err)
	}
	if len(order) != len(allFiles) {
		t.Fatalf("%d writes, want %d: %q", len(order), len(allFiles), order)
	}
	for n := range order {
		dir := t.TempDir()
		for _, name := range order[:n] {
			write(t, dir, name, []byte(readAll(t, complete)[name]))
		}
		if p := mustOpen(t, Config{Dir: dir, Import: bundle}); !bytes.Equal(export(t, p), bundle) {
			t.Errorf("after %d writes: got another bundle", n)
		}

		dir = filepath.Join(t.TempDir(), "pki")
		writes := 0
		_, err := open(Config{Dir: dir, Import: bundle}.withDefaults(), &store{dir: dir, write: func(path string, data []byte, perm fs.FileMode) error {
			if writes++; writes > n {
				return errDiskFull
			}
			return files.WriteAtomic(path, data, perm)
		}})
		if _, statErr := os.Stat(dir); !errors.Is(err, errDiskFull) || !errors.Is(statErr, fs.ErrNotExist) {
			t.Errorf("after %d writes: error %v, left behind: %v", n, err, statErr)
		}
	}
}

func TestDamagedBundle(t *testing.T) {
	bundle, other := string(export(t, mustOpen(t, Config{}))), string(export(t, mustOpen(t, Config{})))
	last := strings.LastIndex(bundle, "-----BEGIN")
	for what, data := range map[string]string{
		"a kubeconfig":     "apiVersion: v1\nkind: Config\n",
		"half":             bundle[:len(bundle)/2],
		"without its last": bundle[:last],
		"no header":        string(mustOpen(t, Config{}).CABundle()),
		"a foreign header": strings.Replace(bundle, ": ca.key", ": ../ca.key", 1),
		"another's last":   bundle[:last] + other[strings.LastIndex(other, "-----BEGIN"):],
	} {
		dir := filepath.Join(t.TempDir(), "pki")
		_, err := Open(Config{Dir: dir, Import: []byte(data)})
		if err == nil || !strings.Contains(err.Error(), "Import") || strings.Contains(err.Error(), "MHc") {
			t.Errorf("%s: error %v", what, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: Open created a directory", what)
		}
	}
	for n := 0; n < len(bundle)-1; n += 97 {
		if _, err := parseBundle([]byte(bundle[:n])); err == nil {
			t.Errorf("truncated at %d: got no error", n)
		}
	}
}

// FuzzParseBundle: a bundle that parses has all of its files, and each of them parses.
func FuzzParseBundle(f *testing.F) {
	p, err := Open(Config{})
	if err != nil {
		f.Fatal(err)
	}
	bundle, err := p.Export()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bundle)
	f.Add(bundle[:len(bundle)/2])
	f.Add(p.CABundle())
	f.Add(bytes.ReplaceAll(bundle, []byte(": ca.key"), []byte(": ../ca.key")))
	f.Add(bytes.Replace(bundle, []byte("BEGIN CERTIFICATE"), []byte("BEGIN PUBLIC KEY"), 1))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := parseBundle(data)
		if err != nil {
			return
		}
		for _, name := range sharedFiles {
			if files[name] == nil && !strings.HasPrefix(name, kubeletServingCAFile) {
				t.Errorf("%s is missing", name)
			}
		}
		for name, file := range files {
			if !slices.Contains(sharedFiles, name) {
				t.Errorf("unexpected file %s", name)
			}
			if err := checkPEM(file); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
