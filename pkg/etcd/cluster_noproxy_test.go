// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// ownAddress returns an address of this machine for which net/http would use a proxy,
// that is none of loopback.
func ownAddress() (netip.Addr, bool) {
	addresses, _ := net.InterfaceAddrs()
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			if ip := prefix.Addr(); ip.IsGlobalUnicast() && ip.Is4() {
				return ip, true
			}
		}
	}
	return netip.Addr{}, false
}

// TestProxyIsNotForMembers: a cluster is formed, joined and restarted by processes whose
// environment has a proxy that does not know the members.
func TestProxyIsNotForMembers(t *testing.T) {
	if _, ok := ownAddress(); !ok {
		t.Skip("only loopback addresses, for which no proxy is used")
	}
	for name, serve := range map[string]func(net.Conn){
		"refuses": func(c net.Conn) { _ = c.Close() },
		"silent":  func(net.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var conns []net.Conn
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					c, err := proxy.Accept()
					if err != nil {
						return
					}
					mu.Lock()
					conns = append(conns, c)
					mu.Unlock()
					serve(c)
				}
			}()
			t.Cleanup(func() {
				_ = proxy.Close()
				<-served
				for _, c := range conns {
					_ = c.Close()
				}
			})
			_, line := childWith(t, "proxied", t.TempDir(),
				"HTTPS_PROXY=http://"+proxy.Addr().String(), "HTTP_PROXY=http://"+proxy.Addr().String(), "ALL_PROXY=http://"+proxy.Addr().String(), "NO_PROXY=", "no_proxy=")
			if line != "ready" {
				t.Error(line)
			}
		})
	}
}

// proxied runs in such a process.
func proxied(dir string) error {
	ip, _ := ownAddress()
	first := map[string]string{}
	free := func() (string, error) {
		l, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
		if err != nil {
			return "", err
		}
		return l.Addr().String(), l.Close()
	}
	var bundle []byte
	config := func(name, address string, join []string) (etcd.Config, error) {
		p, err := pki.Open(pki.Config{Dir: filepath.Join(dir, name, "pki"), EtcdMember: []string{ip.String()}, Import: bundle})
		if err != nil {
			return etcd.Config{}, err
		}
		if bundle == nil {
			if bundle, err = p.Export(); err != nil {
				return etcd.Config{}, err
			}
		}
		c := &etcd.Cluster{Name: name, PeerAddr: address, Join: join}
		if join == nil {
			c.InitialCluster = first
		}
		c.CA, c.Cert, c.Key = p.EtcdFiles()
		return etcd.Config{Dir: filepath.Join(dir, name, "etcd"), Cluster: c}, nil
	}
	configs := map[string]etcd.Config{}
	for _, name := range []string{"a", "b"} {
		address, err := free()
		if err != nil {
			return err
		}
		first[name] = address
	}
	for name, address := range first {
		cfg, err := config(name, address, nil)
		if err != nil {
			return err
		}
		configs[name] = cfg
	}
	members := map[string]*etcd.Member{}
	startBoth := func() error {
		var mu sync.Mutex
		var all sync.WaitGroup
		var errs error
		for _, name := range []string{"a", "b"} {
			all.Go(func() {
				m, err := startMember(configs[name])
				mu.Lock()
				defer mu.Unlock()
				members[name], errs = m, errors.Join(errs, err)
			})
		}
		all.Wait()
		return errs
	}
	if err := startBoth(); err != nil {
		return fmt.Errorf("the first start: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := members["b"].Client().Put(ctx, "k", "1"); err != nil {
		return err
	}
	address, err := free()
	if err != nil {
		return err
	}
	join, err := members["a"].AddMember(ctx, "c", address)
	if err != nil {
		return fmt.Errorf("AddMember: %w", err)
	}
	if configs["c"], err = config("c", address, join); err != nil {
		return err
	}
	if members["c"], err = startMember(configs["c"]); err != nil {
		return fmt.Errorf("Join: %w", err)
	}
	if _, err := members["c"].Client().Get(ctx, "k"); err != nil {
		return err
	}
	for {
		list, err := members["c"].Members(ctx)
		if err != nil {
			return err
		}
		if len(list) == 3 && !list[2].Learner && list[2].Name == "c" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, name := range []string{"a", "b"} {
		if err := members[name].Close(); err != nil {
			return err
		}
	}
	if err := startBoth(); err != nil {
		return fmt.Errorf("a later start: %w", err)
	}
	if _, err := members["a"].Client().Put(ctx, "k", "2"); err != nil {
		return err
	}
	for _, m := range members {
		_ = m.Close()
	}
	fmt.Println("ready")
	return nil
}
