// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clusterconfig_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/pkg/pki"
)

// first returns a valid configuration of the first member of a cluster of two.
func first() *clusterconfig.Cluster {
	return &clusterconfig.Cluster{
		Name: "a", PeerAddr: "10.0.0.1:2380",
		InitialCluster: map[string]string{"a": "10.0.0.1:2380", "b": "10.0.0.2:2380"},
	}
}

func TestClusterValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*clusterconfig.Cluster)
		want   string // the field; empty if valid
	}{
		"the first members":     {func(*clusterconfig.Cluster) {}, ""},
		"a client address":      {func(c *clusterconfig.Cluster) { c.ClientAddr = "10.0.0.1:0" }, ""},
		"a member that joins":   {func(c *clusterconfig.Cluster) { c.InitialCluster, c.Join = nil, []string{"[fd00::2]:2380"} }, ""},
		"no name":               {func(c *clusterconfig.Cluster) { c.Name = "" }, "At.Name"},
		"no address":            {func(c *clusterconfig.Cluster) { c.PeerAddr = "" }, "At.PeerAddr"},
		"a host name":           {func(c *clusterconfig.Cluster) { c.InitialCluster["b"] = "etcd-b:2380" }, "At.InitialCluster[b]"},
		"no port":               {func(c *clusterconfig.Cluster) { c.InitialCluster["b"] = "10.0.0.2" }, "At.InitialCluster[b]"},
		"a URL":                 {func(c *clusterconfig.Cluster) { c.InitialCluster["b"] = "https://10.0.0.2:2380" }, "At.InitialCluster[b]"},
		"port 0":                {func(c *clusterconfig.Cluster) { c.InitialCluster["b"] = "10.0.0.2:0" }, "At.InitialCluster[b]"},
		"every address":         {func(c *clusterconfig.Cluster) { c.InitialCluster["b"] = "[::]:2380" }, "At.InitialCluster[b]"},
		"clients everywhere":    {func(c *clusterconfig.Cluster) { c.ClientAddr = "[::ffff:0.0.0.0]:2379" }, "At.ClientAddr"},
		"clients at the peers":  {func(c *clusterconfig.Cluster) { c.ClientAddr = c.PeerAddr }, "At.ClientAddr"},
		"one address twice":     {func(c *clusterconfig.Cluster) { c.InitialCluster["b"] = c.PeerAddr }, "At.InitialCluster[b]"},
		"not in the cluster":    {func(c *clusterconfig.Cluster) { c.Name = "c" }, "At.InitialCluster"},
		"another address in it": {func(c *clusterconfig.Cluster) { c.PeerAddr = "10.0.0.3:2380" }, "At.InitialCluster[a]"},
		"no members":            {func(c *clusterconfig.Cluster) { c.InitialCluster = nil }, "At.InitialCluster"},
		"begins and joins":      {func(c *clusterconfig.Cluster) { c.Join = []string{"10.0.0.2:2380"} }, "At.Join"},
		"joins a host name": {func(c *clusterconfig.Cluster) {
			c.InitialCluster, c.Join = nil, []string{"10.0.0.2:2380", "etcd-b:2380"}
		}, "At.Join[1]"},
	} {
		cluster := first()
		c.change(cluster)
		errs := cluster.Validate(field.NewPath("At"))
		switch {
		case c.want == "" && len(errs) > 0:
			t.Errorf("%s: got %v, want no error", name, errs)
		case c.want != "" && (len(errs) != 1 || errs[0].Field != c.want):
			t.Errorf("%s: got %v, want one error of %s", name, errs, c.want)
		}
	}
	if errs := (&clusterconfig.Cluster{}).Validate(nil); len(errs) != 3 {
		t.Errorf("an empty configuration: got %v, want errors of Name, PeerAddr and InitialCluster", errs)
	}
}

func TestClone(t *testing.T) {
	cluster := first()
	cluster.Join = []string{"10.0.0.2:2380"}
	clone := cluster.Clone()
	clone.InitialCluster["c"], clone.Join[0] = "10.0.0.3:2380", "10.0.0.3:2380"
	if len(cluster.InitialCluster) != 2 || cluster.Join[0] != "10.0.0.2:2380" {
		t.Errorf("changes of the clone are in %+v", cluster)
	}
	if (*clusterconfig.Cluster)(nil).Clone() != nil {
		t.Error("a standalone member has a cluster")
	}
}

// certified returns a configuration with certificates, and the directory of their files.
func certified(t *testing.T) *clusterconfig.Cluster {
	t.Helper()
	p, err := pki.Open(pki.Config{Dir: t.TempDir(), EtcdMember: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	cluster := first()
	cluster.CA, cluster.Cert, cluster.Key = p.EtcdFiles()
	return cluster
}

func TestClusterFiles(t *testing.T) {
	cluster := certified(t)
	if errs := cluster.ValidateFiles(nil); len(errs) > 0 {
		t.Error(errs)
	}
	if config, err := cluster.ServeTLS(); err != nil || config.ClientCAs == nil {
		t.Errorf("TLS of the server: %v, %v", config, err)
	}
	token, err := cluster.Token()
	if err != nil || !strings.HasPrefix(token, "kubembed-") {
		t.Errorf("token %q, %v", token, err)
	}
	copied := cluster.Clone()
	copied.CA = filepath.Join(t.TempDir(), "ca.crt")
	data, err := os.ReadFile(cluster.CA)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied.CA, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if same, err := copied.Token(); err != nil || same != token {
		t.Errorf("token of the same CA: %q, %v, want %q", same, err, token)
	}
	if other, err := certified(t).Token(); err != nil || other == token {
		t.Errorf("token of another CA: %q, %v", other, err)
	}

	if errs := first().ValidateFiles(nil); len(errs) != 3 {
		t.Errorf("without files: got %v, want errors of CA, Cert and Key", errs)
	}
	swapped := cluster.Clone()
	swapped.Cert, swapped.Key = cluster.Key, cluster.Cert
	if errs := swapped.ValidateFiles(nil); len(errs) != 1 || errs[0].Field != "Cert" {
		t.Errorf("swapped files: got %v, want one error of Cert", errs)
	}
	if _, err := swapped.ServeTLS(); err == nil || !strings.Contains(err.Error(), "Config.Cluster: ") {
		t.Errorf("TLS of swapped files: %v", err)
	}
	missing := cluster.Clone()
	missing.CA += "-none"
	if _, err := missing.Token(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "Config.Cluster.CA: ") {
		t.Errorf("token of a missing CA: %v", err)
	}
}

func TestListen(t *testing.T) {
	cluster := &clusterconfig.Cluster{PeerAddr: "127.0.0.1:2380"}
	clients, err := cluster.ListenClients()
	if err != nil {
		t.Fatal(err)
	}
	defer clients.Close()
	address, ok := clients.Addr().(*net.TCPAddr)
	if !ok || address.IP.String() != "127.0.0.1" || address.Port == 0 {
		t.Errorf("without ClientAddr: got %s, want a port at the host of PeerAddr", clients.Addr())
	}
	taken := &clusterconfig.Cluster{PeerAddr: address.String(), ClientAddr: address.String()}
	if again, err := taken.ListenClients(); err == nil || !strings.Contains(err.Error(), "Config.Cluster.ClientAddr: ") {
		t.Errorf("a taken client address: %v, %v", again, err)
	}
	if again, err := taken.ListenPeers(); err == nil || !strings.Contains(err.Error(), "Config.Cluster.PeerAddr: ") {
		t.Errorf("a taken peer address: %v, %v", again, err)
	}
}
