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
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/util/keyutil"

	"github.com/kubembed/kubembed/internal/files"
)

// allFiles is the layout, in the order of the first start's writes.
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

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
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
		t.Errorf("%d files, want %d: %q", len(files), len(allFiles), files)
	}

	second := mustOpen(t, Config{Dir: dir})
	for name, data := range readAll(t, dir) {
		if data != files[name] {
			t.Errorf("%s was rewritten", name)
		}
	}
	if !bytes.Equal(second.CABundle(), first.CABundle()) || !bytes.Equal(second.FrontProxyCA().PEM(), first.FrontProxyCA().PEM()) {
		t.Error("an authority changed")
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
		t.Errorf("%d service-account public keys", len(public))
	}
}

func TestMemoryWritesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	p := mustOpen(t, Config{})
	mustIssue(t, p, "jane")
	if files := readAll(t, "."); len(files) != 0 {
		t.Errorf("files %q", files)
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes on Windows")
	}
	dir := filepath.Join(t.TempDir(), "pki")
	mode := func(name string) fs.FileMode {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	mustOpen(t, Config{Dir: dir})
	if got := mode("."); got != 0o700 {
		t.Errorf("directory has mode %o", got)
	}
	for _, name := range allFiles {
		if got := mode(name); got != 0o600 {
			t.Errorf("%s has mode %o", name, got)
		}
	}

	for _, name := range []string{"ca.key", "sa.key", "apiserver.key", "front-proxy-ca.key", "ca.crt", "."} {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, Config{Dir: dir})
	for _, name := range []string{"ca.key", "sa.key", "apiserver.key", "front-proxy-ca.key"} {
		if got := mode(name); got != 0o600 {
			t.Errorf("%s still has mode %o", name, got)
		}
	}
	// Public files and a directory that was there are the owner's business.
	for _, name := range []string{"ca.crt", "."} {
		if got := mode(name); got != 0o755 {
			t.Errorf("%s now has mode %o", name, got)
		}
	}
}

func TestDamagedAuthority(t *testing.T) {
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
						t.Errorf("the error does not say %q: %v", want, err)
					}
				}
				for name, data := range readAll(t, dir) {
					if data != damaged[name] {
						t.Errorf("the failed Open changed %s", name)
					}
				}

				// The cure that the error names.
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
					authority := p.CA()
					if name == "front-proxy client" {
						authority = p.FrontProxyCA()
					}
					if err := mustTLS(t, kp).Leaf.CheckSignatureFrom(authority.Cert); err != nil {
						t.Errorf("%s after the cure: %v", name, err)
					}
				}
			})
		}
	}
}

func TestDamagedLeafIsMadeAnew(t *testing.T) {
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
						t.Errorf("%s is not good", c.file)
					}
				}
				if again := mustOpen(t, cfg); !same(again.pairs[file], p.pairs[file]) {
					t.Error("the repair did not last")
				}
			})
		}
	}
}

var errDiskFull = errors.New("disk full")

// At whichever write a first start dies or fails, the next one succeeds.
func TestInterruptedFirstStart(t *testing.T) {
	for n := range allFiles {
		t.Run(allFiles[n], func(t *testing.T) {
			// A crash: the files so far stay.
			dir := t.TempDir()
			complete := filepath.Join(t.TempDir(), "complete")
			mustOpen(t, Config{Dir: complete})
			for _, name := range allFiles[:n] {
				write(t, dir, name, []byte(readAll(t, complete)[name]))
			}
			write(t, dir, allFiles[n]+".unfinished-123", []byte("half a ke"))
			mustOpen(t, Config{Dir: dir})
			if got := len(readAll(t, dir)); got != len(allFiles) {
				t.Errorf("%d files after the repair: %q", got, readAll(t, dir))
			}

			// An error: nothing stays, neither a file nor the directory.
			dir = filepath.Join(t.TempDir(), "pki")
			writes := 0
			_, err := open(Config{Dir: dir}.withDefaults(), &store{dir: dir, write: func(path string, data []byte, perm fs.FileMode) error {
				if writes++; writes > n {
					return errDiskFull
				}
				return files.WriteAtomic(path, data, perm)
			}})
			if !errors.Is(err, errDiskFull) || !strings.Contains(err.Error(), "Dir") {
				t.Fatalf("error %v", err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left behind: %q", readAll(t, dir))
			}
		})
	}
}

// A renewal that cannot be stored changes nothing, and works once it can.
func TestFailedRepairIsRepeated(t *testing.T) {
	dir := t.TempDir()
	old := mustOpen(t, Config{Dir: dir})
	remove(t, dir, "apiserver.key")
	_, err := open(Config{Dir: dir}.withDefaults(), &store{dir: dir, write: func(string, []byte, fs.FileMode) error { return errDiskFull }})
	if !errors.Is(err, errDiskFull) {
		t.Fatalf("error %v", err)
	}
	if got := len(readAll(t, dir)); got != len(allFiles)-1 {
		t.Errorf("%d files", got)
	}
	if p := mustOpen(t, Config{Dir: dir}); !bytes.Equal(p.CABundle(), old.CABundle()) || same(p.Serving(), old.Serving()) {
		t.Error("not repaired")
	}
}

func TestDirThatCannotBeUsed(t *testing.T) {
	base := t.TempDir()
	write(t, base, "file", []byte("mine"))
	for _, dir := range []string{filepath.Join(base, "file"), filepath.Join(base, "file", "pki")} {
		if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "Dir") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v", dir, err)
		}
	}
	if got := readAll(t, base); len(got) != 1 || got["file"] != "mine" {
		t.Errorf("left behind: %q", got)
	}
}

func TestUnwritableDir(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("modes do not stop root, nor anybody on Windows")
	}
	base := t.TempDir()
	if err := os.Chmod(base, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{base, filepath.Join(base, "pki")} {
		if _, err := Open(Config{Dir: dir}); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v", dir, err)
		}
	}
	if got := readAll(t, base); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}

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
			t.Fatalf("%d keys, not the second and the first", len(public))
		}
	}

	// Without sa.pub, what is in sa.key is all there is.
	remove(t, dir, "sa.pub")
	if public := mustOpen(t, Config{Dir: dir}).ServiceAccountPublicKeys(); len(public) != 1 || !samePublicKey(public[0], second) {
		t.Errorf("%d keys, not the second alone", len(public))
	}
	if readAll(t, dir)["sa.pub"] == "" {
		t.Error("sa.pub was not written again")
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
		t.Errorf("%d keys, not the added and the second", len(public))
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

// Keys of other kinds, as kubeadm or OpenSSL make them.
func TestForeignKeys(t *testing.T) {
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
	old, err := newAuthority("old", now)
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
		t.Error("the RSA key is not used")
	}
	if err := mustTLS(t, p.Serving()).Leaf.CheckSignatureFrom(p.CA().Cert); err != nil || !samePublicKey(p.CA().Key.Public(), ecKey.Public()) {
		t.Errorf("the CA is not used: %v", err)
	}
	if !bytes.Equal(p.CABundle(), slices.Concat(encodeCert(der), old.PEM())) {
		t.Error("the bundle is not the whole of ca.crt")
	}
}
