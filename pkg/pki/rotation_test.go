package pki

import (
	"bytes"
	"maps"
	"slices"
	"testing"
)

// Each authority is replaced by way of a file that has both: who it has signed is
// trusted until its certificate is taken out.
func TestNewAuthority(t *testing.T) {
	for _, name := range authorities {
		t.Run(name, func(t *testing.T) {
			dir, made := t.TempDir(), t.TempDir()
			cfg := Config{Dir: dir, EtcdMember: []string{"192.0.2.1"}}
			open := func() (bundle []byte, leaf KeyPair, others map[string]KeyPair) {
				p := mustOpen(t, cfg)
				bundles := map[string][]byte{clusterAuthority: p.CABundle(), frontProxyAuthority: p.FrontProxyCABundle(), etcdAuthority: p.etcdBundle, kubeletServingAuthority: p.KubeletServingCABundle()}
				leaves := map[string]string{clusterAuthority: servingFile, frontProxyAuthority: frontProxyClientFile, etcdAuthority: etcdMemberFile}
				others = maps.Clone(p.pairs)
				delete(others, leaves[name])
				if name == clusterAuthority {
					delete(others, kubeletClientFile)
				}
				leaf = p.pairs[leaves[name]]
				if name == kubeletServingAuthority { // a kubelet keeps its own
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
				t.Error("not both are trusted, or the new one signs")
			}
			shared := export(t, mustOpen(t, cfg))

			write(t, dir, name+".key", []byte(readAll(t, made)[name+".key"]))
			if _, err := Open(cfg); err == nil {
				t.Error("the key of another is accepted")
			}
			write(t, dir, name+".crt", slices.Concat(newCert, oldCert))
			bundle, third, _ := open()
			if !bytes.Equal(bundle, slices.Concat(newCert, oldCert)) || same(second, third) {
				t.Error("not both are trusted, or the old one signs")
			}

			// Another server may still have what it was given in the first step.
			cfg.Import = shared
			write(t, dir, name+".crt", newCert)
			bundle, fourth, now := open()
			if !bytes.Equal(bundle, newCert) || !same(third, fourth) {
				t.Error("the old one is trusted, or something was made anew")
			}
			for file, pair := range others {
				if !same(pair, now[file]) {
					t.Errorf("%s was made anew", file)
				}
			}
		})
	}
}
