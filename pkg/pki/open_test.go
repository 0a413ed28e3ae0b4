// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/util/keyutil"
)

// allFiles are the files of the directory, in the order in which the first Open writes
// them.
var allFiles = []string{
	"ca.key", "ca.crt",
	"front-proxy-ca.key", "front-proxy-ca.crt",
	"etcd/ca.key", "etcd/ca.crt",
	"kubelet-serving-ca.key", "kubelet-serving-ca.crt",
	"sa.key", "sa.pub",
	"apiserver.key", "apiserver.crt",
	"apiserver-kubelet-client.key", "apiserver-kubelet-client.crt",
	"front-proxy-client.key", "front-proxy-client.crt",
}

func TestSecondOpenReusesEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "pki")
	first := mustOpen(t, Config{Dir: dir})
	files := readAll(t, dir)
	for _, name := range allFiles {
		if files[name] == "" {
			t.Errorf("%s is missing", name)
		}
	}
	if len(files) != len(allFiles) {
		t.Errorf("got %d files, want %d: %q", len(files), len(allFiles), files)
	}

	second := mustOpen(t, Config{Dir: dir})
	for name, data := range readAll(t, dir) {
		if data != files[name] {
			t.Errorf("%s was rewritten", name)
		}
	}
	if !bytes.Equal(second.CABundle(), first.CABundle()) || !bytes.Equal(second.FrontProxyCA().PEM(), first.FrontProxyCA().PEM()) {
		t.Error("a CA changed")
	}
	if !samePublicKey(second.CA().Key.Public(), first.CA().Key.Public()) || !samePublicKey(second.ServiceAccountKey().Public(), first.ServiceAccountKey().Public()) {
		t.Error("a key changed")
	}
	for name, kp := range leaves(second) {
		if !same(kp, leaves(first)[name]) {
			t.Errorf("%s changed", name)
		}
	}
	if public := second.ServiceAccountPublicKeys(); len(public) != 1 || !samePublicKey(public[0], second.ServiceAccountKey().Public()) {
		t.Errorf("got %d service-account public keys, want 1", len(public))
	}
}

func TestDamagedCA(t *testing.T) {
	otherKey, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edDER, err := x509.MarshalPKCS8PrivateKey(edKey)
	if err != nil {
		t.Fatal(err)
	}
	edPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: edDER})

	for _, ca := range []string{"ca", "front-proxy-ca", "etcd/ca"} {
		for _, tc := range []struct {
			name   string
			damage func(t *testing.T, dir string)
			file   string
		}{
			{"no key", func(t *testing.T, dir string) { remove(t, dir, ca+".key") }, ca + ".key"},
			{"no certificate", func(t *testing.T, dir string) { remove(t, dir, ca+".crt") }, ca + ".crt"},
			{"empty certificate", func(t *testing.T, dir string) { write(t, dir, ca+".crt", nil) }, ca + ".crt"},
			{"empty key", func(t *testing.T, dir string) { write(t, dir, ca+".key", nil) }, ca + ".key"},
			{"garbage certificate", func(t *testing.T, dir string) { write(t, dir, ca+".crt", []byte("garbage")) }, ca + ".crt"},
			{"garbage key", func(t *testing.T, dir string) { write(t, dir, ca+".key", []byte("garbage")) }, ca + ".key"},
			{"half a certificate", func(t *testing.T, dir string) {
				data := readAll(t, dir)[ca+".crt"]
				write(t, dir, ca+".crt", []byte(data[:len(data)/2]))
			}, ca + ".crt"},
			{"half a second certificate", func(t *testing.T, dir string) {
				data := readAll(t, dir)[ca+".crt"]
				write(t, dir, ca+".crt", []byte(data+data[:len(data)/2]))
			}, ca + ".crt"},
			{"another key", func(t *testing.T, dir string) { write(t, dir, ca+".key", otherKey) }, ca + ".key"},
			{"key of a kind that cannot be used", func(t *testing.T, dir string) { write(t, dir, ca+".key", edPEM) }, ca + ".key"},
			{"leaf in place of the CA", func(t *testing.T, dir string) {
				files := readAll(t, dir)
				write(t, dir, ca+".crt", []byte(files["apiserver.crt"]))
				write(t, dir, ca+".key", []byte(files["apiserver.key"]))
			}, ca + ".crt"},
		} {
			t.Run(ca+"/"+tc.name, func(t *testing.T) {
				dir := t.TempDir()
				cfg := Config{Dir: dir, EtcdMember: []string{"192.0.2.1"}}
				old := mustOpen(t, cfg)
				tc.damage(t, dir)
				damaged := readAll(t, dir)

				cfg.Hosts = []string{"new.example"}
				_, err := Open(cfg)
				if err == nil {
					t.Fatal("no error")
				}
				for _, want := range []string{filepath.Join(dir, filepath.FromSlash(tc.file)), "delete " + ca + ".crt and " + ca + ".key"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("want %q in the error: %v", want, err)
					}
				}
				for name, data := range readAll(t, dir) {
					if data != damaged[name] {
						t.Errorf("the failed Open changed %s", name)
					}
				}

				// The remedy of the error.
				for _, name := range []string{ca + ".crt", ca + ".key"} {
					if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Fatal(err)
					}
				}
				cfg.Hosts = nil
				p := mustOpen(t, cfg)
				if clusterKept := bytes.Equal(p.CABundle(), old.CABundle()); clusterKept != (ca != "ca") {
					t.Errorf("cluster CA kept %t", clusterKept)
				}
				for name, kp := range leaves(p) {
					issuer := p.CA()
					if name == "front-proxy client" {
						issuer = p.FrontProxyCA()
					}
					if err := mustTLS(t, kp).Leaf.CheckSignatureFrom(issuer.Cert); err != nil {
						t.Errorf("%s after the remedy: %v", name, err)
					}
				}
			})
		}
	}
}

func TestDamagedLeafIsReissued(t *testing.T) {
	other := mustOpen(t, Config{Dir: t.TempDir(), EtcdMember: []string{"192.0.2.1"}})
	for _, file := range []string{"apiserver", "apiserver-kubelet-client", "front-proxy-client", "etcd/member"} {
		for name, damage := range map[string]func(t *testing.T, dir string){
			"no key":         func(t *testing.T, dir string) { remove(t, dir, file+".key") },
			"no certificate": func(t *testing.T, dir string) { remove(t, dir, file+".crt") },
			"garbage":        func(t *testing.T, dir string) { write(t, dir, file+".crt", []byte("garbage")) },
			"another key":    func(t *testing.T, dir string) { write(t, dir, file+".key", other.Serving().Key) },
			"signed by another CA": func(t *testing.T, dir string) {
				kp := other.pairs[file]
				write(t, dir, file+".key", kp.Key)
				write(t, dir, file+".crt", kp.Cert)
			},
			"for somebody else": func(t *testing.T, dir string) {
				kp := mustIssue(t, mustOpen(t, Config{Dir: dir}), "jane")
				write(t, dir, file+".key", kp.Key)
				write(t, dir, file+".crt", kp.Cert)
			},
		} {
			t.Run(file+"/"+name, func(t *testing.T) {
				dir := t.TempDir()
				cfg := Config{Dir: dir, EtcdMember: []string{"192.0.2.1"}}
				old := mustOpen(t, cfg)
				damage(t, dir)
				p := mustOpen(t, cfg)
				for _, c := range p.certificates {
					if same(p.pairs[c.file], old.pairs[c.file]) == (c.file == file) {
						t.Errorf("%s: kept %t", c.file, c.file == file)
					}
					if !c.issuer.accepts(p.pairs[c.file], c.leaf, p.cfg.Clock.Now()) {
						t.Errorf("%s is not accepted", c.file)
					}
				}
				if again := mustOpen(t, cfg); !same(again.pairs[file], p.pairs[file]) {
					t.Error("the next Open reissued it again")
				}
			})
		}
	}
}

var errDiskFull = errors.New("disk full")

// Keys in the formats of kubeadm and OpenSSL.
func TestImportedKeyFormats(t *testing.T) {
	dir := t.TempDir()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM, err := keyutil.MarshalPrivateKeyToPEM(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "sa.key", rsaPEM)

	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	now := Config{}.withDefaults().Clock.Now()
	old, err := newCA("old", now)
	if err != nil {
		t.Fatal(err)
	}
	template := *old.Cert
	template.PublicKey = ecKey.Public()
	der, err := createCertificate(&template, &template, ecKey.Public(), ecKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "ca.crt", slices.Concat(encodeCert(der), old.PEM()))
	params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	write(t, dir, "ca.key", append(params, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...))

	p := mustOpen(t, Config{Dir: dir})
	if !samePublicKey(p.ServiceAccountKey().Public(), rsaKey.Public()) {
		t.Error("Open did not use the RSA key")
	}
	if err := mustTLS(t, p.Serving()).Leaf.CheckSignatureFrom(p.CA().Cert); err != nil || !samePublicKey(p.CA().Key.Public(), ecKey.Public()) {
		t.Errorf("Open did not use the CA: %v", err)
	}
	if !bytes.Equal(p.CABundle(), slices.Concat(encodeCert(der), old.PEM())) {
		t.Error("CABundle is not the content of ca.crt")
	}
}

func BenchmarkOpen(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			mustOpen(b, Config{})
		}
	})
	b.Run("new directory", func(b *testing.B) {
		for b.Loop() {
			mustOpen(b, Config{Dir: b.TempDir()})
		}
	})
	b.Run("known directory", func(b *testing.B) {
		dir := b.TempDir()
		mustOpen(b, Config{Dir: dir})
		for b.Loop() {
			mustOpen(b, Config{Dir: dir})
		}
	})
}

// Each CA is replaced through a file that has both: certificates that the old one signed
// are trusted until it is removed from the file.
func TestCARotation(t *testing.T) {
	for _, name := range caFiles {
		t.Run(name, func(t *testing.T) {
			dir, made := t.TempDir(), t.TempDir()
			cfg := Config{Dir: dir, EtcdMember: []string{"192.0.2.1"}}
			open := func() (bundle []byte, leaf KeyPair, others map[string]KeyPair) {
				p := mustOpen(t, cfg)
				bundles := map[string][]byte{clusterCAFile: p.CABundle(), frontProxyCAFile: p.FrontProxyCABundle(), etcdCAFile: p.etcdBundle, kubeletServingCAFile: p.KubeletServingCABundle()}
				leaves := map[string]string{clusterCAFile: servingFile, frontProxyCAFile: frontProxyClientFile, etcdCAFile: etcdMemberFile}
				others = maps.Clone(p.pairs)
				delete(others, leaves[name])
				if name == clusterCAFile {
					delete(others, kubeletClientFile)
				}
				leaf = p.pairs[leaves[name]]
				if name == kubeletServingCAFile { // a kubelet keeps its own
					leaf = KeyPair{Cert: p.KubeletServingCA().PEM()}
				}
				return bundles[name], leaf, others
			}
			_, first, others := open()
			mustOpen(t, Config{Dir: made})
			oldCert, newCert := []byte(readAll(t, dir)[name+".crt"]), []byte(readAll(t, made)[name+".crt"])

			write(t, dir, name+".crt", slices.Concat(oldCert, newCert))
			bundle, second, _ := open()
			if !bytes.Equal(bundle, slices.Concat(oldCert, newCert)) || !same(first, second) {
				t.Error("want both CAs trusted, and the old one signing")
			}
			shared := export(t, mustOpen(t, cfg))

			write(t, dir, name+".key", []byte(readAll(t, made)[name+".key"]))
			if _, err := Open(cfg); err == nil {
				t.Error("Open accepts the key of another CA")
			}
			write(t, dir, name+".crt", slices.Concat(newCert, oldCert))
			bundle, third, _ := open()
			if !bytes.Equal(bundle, slices.Concat(newCert, oldCert)) || same(second, third) {
				t.Error("want both CAs trusted, and the new one signing")
			}

			// Another server may still have the bundle of the first step.
			cfg.Import = shared
			write(t, dir, name+".crt", newCert)
			bundle, fourth, now := open()
			if !bytes.Equal(bundle, newCert) || !same(third, fourth) {
				t.Error("want only the new CA trusted, and nothing reissued")
			}
			for file, pair := range others {
				if !same(pair, now[file]) {
					t.Errorf("%s was reissued", file)
				}
			}
		})
	}
}
