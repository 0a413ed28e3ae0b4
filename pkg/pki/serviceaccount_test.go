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
