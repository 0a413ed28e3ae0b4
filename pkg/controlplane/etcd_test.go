// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// TestEtcdConfig: errors name each field with an invalid value.
func TestEtcdConfig(t *testing.T) {
	const own = "127.0.0.1:2380"
	cluster := map[string]string{"a": own, "b": "127.0.0.1:2480"}
	for name, test := range map[string]struct {
		etcd controlplane.Etcd
		want string
	}{
		"both ways":                  {controlplane.Etcd{Endpoints: []string{"http://127.0.0.1:1"}, Name: "a"}, "Etcd.Name: "},
		"mixed schemes":              {controlplane.Etcd{Endpoints: []string{"http://127.0.0.1:1", "https://127.0.0.1:2"}}, "Etcd.Endpoints[1]: "},
		"a file that is not there":   {controlplane.Etcd{Endpoints: []string{"https://127.0.0.1:1"}, CA: "none.pem"}, "Etcd.CA: "},
		"a certificate without key":  {controlplane.Etcd{Endpoints: []string{"https://127.0.0.1:1"}, Cert: "c.pem"}, "Etcd.Key: "},
		"TLS for http":               {controlplane.Etcd{Endpoints: []string{"http://127.0.0.1:1"}, CA: "ca.pem"}, "Etcd.CA: "},
		"TLS without endpoints":      {controlplane.Etcd{CA: "ca.pem"}, "Etcd.CA: "},
		"no name":                    {controlplane.Etcd{PeerAddr: own, InitialCluster: cluster}, "Etcd.Name: "},
		"no address":                 {controlplane.Etcd{Name: "a", InitialCluster: cluster}, "Etcd.PeerAddr: "},
		"port 0":                     {controlplane.Etcd{Name: "a", PeerAddr: "127.0.0.1:0", InitialCluster: cluster}, "Etcd.PeerAddr: "},
		"every address":              {controlplane.Etcd{Name: "a", PeerAddr: "0.0.0.0:2380", InitialCluster: cluster}, "Etcd.PeerAddr: "},
		"every IPv4 address":         {controlplane.Etcd{Name: "a", PeerAddr: "[::ffff:0.0.0.0]:2380", InitialCluster: cluster}, "Etcd.PeerAddr: "},
		"no cluster":                 {controlplane.Etcd{Name: "a", PeerAddr: own}, "Etcd.InitialCluster: "},
		"not in the cluster":         {controlplane.Etcd{Name: "c", PeerAddr: own, InitialCluster: cluster}, "Etcd.InitialCluster: "},
		"another address in it":      {controlplane.Etcd{Name: "a", PeerAddr: "127.0.0.1:9", InitialCluster: cluster}, "Etcd.InitialCluster[a]: "},
		"the same address twice":     {controlplane.Etcd{Name: "a", PeerAddr: own, InitialCluster: map[string]string{"a": own, "b": own}}, "Etcd.InitialCluster[b]: "},
		"begins and joins":           {controlplane.Etcd{Name: "a", PeerAddr: own, InitialCluster: cluster, Join: []string{own}}, "Etcd.Join: "},
		"clients at the peers' port": {controlplane.Etcd{Name: "a", PeerAddr: own, ClientAddr: own, InitialCluster: cluster}, "Etcd.ClientAddr: "},
	} {
		err := controlplane.Config{DataDir: "data", Etcd: test.etcd}.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s in it", name, err, test.want)
		}
	}
	member := controlplane.Etcd{Name: "a", PeerAddr: own, InitialCluster: cluster}
	if err := (controlplane.Config{DataDir: "data", Etcd: member}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (controlplane.Config{Etcd: member}).Validate(); err == nil || !strings.Contains(err.Error(), "DataDir: ") {
		t.Errorf("a member without DataDir: got %v, want an error of DataDir", err)
	}
}

// TestEtcdTLSFiles: errors name mixed up and missing files before anything is started.
func TestEtcdTLSFiles(t *testing.T) {
	dir := t.TempDir()
	files := func(dir string) (ca, cert, key string) {
		p, err := pki.Open(pki.Config{Dir: dir, EtcdMember: []string{"127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		return p.EtcdFiles()
	}
	ca, cert, key := files(filepath.Join(dir, "one"))
	_, _, otherKey := files(filepath.Join(dir, "other"))
	https, plain := []string{"https://127.0.0.1:1"}, []string{"http://127.0.0.1:1"}
	none := filepath.Join(dir, "none.pem")
	for name, test := range map[string]struct {
		etcd controlplane.Etcd
		want []string
	}{
		"no key":                {controlplane.Etcd{Endpoints: https, CA: ca, Cert: cert}, []string{"Etcd.Key: Required", "the key of Etcd.Cert"}},
		"no certificate":        {controlplane.Etcd{Endpoints: https, CA: ca, Key: key}, []string{"Etcd.Cert: Required", "the certificate of Etcd.Key"}},
		"the key of another":    {controlplane.Etcd{Endpoints: https, CA: ca, Cert: cert, Key: otherKey}, []string{"Etcd.Cert: ", cert, otherKey, "does not match"}},
		"certificate and key":   {controlplane.Etcd{Endpoints: https, CA: ca, Cert: key, Key: cert}, []string{"Etcd.Cert: ", key, "must be PEM certificates that Etcd.Key"}},
		"the key for the CA":    {controlplane.Etcd{Endpoints: https, CA: key, Cert: cert, Key: key}, []string{"Etcd.CA: ", key, "must be PEM certificates"}},
		"no such CA":            {controlplane.Etcd{Endpoints: https, CA: none}, []string{"Etcd.CA: ", none, "no such file"}},
		"no such certificate":   {controlplane.Etcd{Endpoints: https, CA: ca, Cert: none, Key: key}, []string{"Etcd.Cert: ", none, "no such file"}},
		"all of them for http":  {controlplane.Etcd{Endpoints: plain, CA: ca, Cert: cert, Key: key}, []string{"Etcd.CA: ", "Etcd.Cert: ", "Etcd.Key: ", "Endpoints are http"}},
		"http and https":        {controlplane.Etcd{Endpoints: append(https, plain...), CA: ca}, []string{"Etcd.Endpoints[1]: ", "must be https like the first"}},
		"for no etcd elsewhere": {controlplane.Etcd{CA: ca}, []string{"Etcd.CA: ", "only for Etcd.Endpoints", "from PKI"}},
	} {
		_, err := controlplane.Start(t.Context(), controlplane.Config{Etcd: test.etcd})
		if err == nil {
			t.Fatalf("%s: got no error, want one", name)
		}
		if missing := lacks(err.Error(), test.want...); missing != "" {
			t.Errorf("%s: got %v, want %q in it", name, err, missing)
		}
	}
}

// TestEndpointsDoNotAnswer: the start fails in bounded time and names the cause.
func TestEndpointsDoNotAnswer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for endpoint, want := range map[string]string{
		"http://127.0.0.1:1":               "connection refused",
		"http://" + silent.Addr().String(): "no answer",
	} {
		err := wantStartFails(t, controlplane.Config{Etcd: controlplane.Etcd{Endpoints: []string{endpoint}}},
			"Config.Etcd.Endpoints", "etcd does not answer", endpoint, want)
		if !errors.Is(err, etcd.ErrUnreachable) {
			t.Errorf("got %v, want etcd.ErrUnreachable", err)
		}
		if strings.Contains(err.Error(), "etcd: ") {
			t.Errorf("got %v, want no other package in it", err)
		}
	}
}

func TestMembersOfOneThatIsAlone(t *testing.T) {
	server := start(t, controlplane.Config{})
	if _, err := server.Members(t.Context()); !errors.Is(err, etcd.ErrStandalone) {
		t.Errorf("Members: got %v, want ErrStandalone", err)
	} else if want := "controlplane: this member is standalone, and no member of a cluster: see Config.Etcd"; err.Error() != want {
		t.Errorf("members: %q, want %q", err, want)
	}
	if _, err := server.AddMember(t.Context(), "b", "127.0.0.1:2380"); !errors.Is(err, etcd.ErrStandalone) {
		t.Errorf("AddMember: got %v, want ErrStandalone", err)
	}
	if err := server.RemoveMember(t.Context(), "b"); !errors.Is(err, etcd.ErrStandalone) {
		t.Errorf("RemoveMember: got %v, want ErrStandalone", err)
	}
}
