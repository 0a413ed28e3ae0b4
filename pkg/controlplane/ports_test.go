// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestKubeconfigOutlivesARestart: port 0 is the same free port at each start on a
// DataDir. Earlier versions used a new one at each start.
func TestKubeconfigOutlivesARestart(t *testing.T) {
	logger, logs := observed(zap.WarnLevel)
	cfg := controlplane.Config{DataDir: t.TempDir(), InsecureAddr: "127.0.0.1:0", Logger: logger}
	changed := func() int { return logs.FilterMessageSnippet("port of the last start is in use").Len() }
	server := start(t, cfg)
	kubeconfig, err := server.Kubeconfig("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	url, insecure := server.URL(), server.InsecureURL()
	closeServer(t, server)

	server = start(t, cfg)
	if server.URL() != url || server.InsecureURL() != insecure || changed() > 0 {
		t.Errorf("got %s and %s, want %s and %s as before: %v", server.URL(), server.InsecureURL(), url, insecure, logs.All())
	}
	putConfigMap(t, clientFor(t, fromKubeconfig(t, kubeconfig)), "by-kubeconfig", "x")
	// A second start on the DataDir changes nothing.
	if _, err := controlplane.Start(t.Context(), cfg); err == nil {
		t.Error("two control planes on one DataDir: got no error, want one")
	}
	closeServer(t, server)
	path := filepath.Join(cfg.DataDir, "ports.json")
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("ports.json: got %v, %v, want mode 0600", info, err)
	}

	t.Run("taken", func(t *testing.T) {
		taken, err := net.Listen("tcp", hostPort(t, url))
		if err != nil {
			t.Fatal(err)
		}
		server := start(t, cfg)
		other := server.URL()
		if other == url || server.InsecureURL() != insecure || changed() != 1 {
			t.Errorf("got %s and %s, want another URL than %s, %s as before and one line in the log: %v", other, server.InsecureURL(), url, insecure, logs.All())
		}
		closeServer(t, server)
		_ = taken.Close()
		// The other port has replaced it: two control planes with the same port do not
		// alternate.
		server = start(t, cfg)
		if server.URL() != other || changed() != 1 {
			t.Errorf("got %s, want %s as before: %v", server.URL(), other, logs.All())
		}
		url = other
		closeServer(t, server)
	})
	t.Run("named", func(t *testing.T) {
		cfg := cfg
		cfg.BindAddress = "127.0.0.1:" + freePort(t)
		server := start(t, cfg)
		if got := hostPort(t, server.URL()); got != cfg.BindAddress {
			t.Errorf("at %s, want %s", got, cfg.BindAddress)
		}
		closeServer(t, server)
	})
	t.Run("named for the other", func(t *testing.T) {
		cfg := cfg
		cfg.InsecureAddr = hostPort(t, url)
		server := start(t, cfg)
		if got := hostPort(t, server.InsecureURL()); got != cfg.InsecureAddr || changed() != 2 {
			t.Errorf("at %s, want %s: %v", got, cfg.InsecureAddr, logs.All())
		}
		url = server.URL()
		closeServer(t, server)
	})
	for _, damaged := range []string{"", "{", "[]", `{"bindAddress":70000}`, `{"bindAddress":-1}`} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		server := start(t, cfg)
		url = server.URL()
		closeServer(t, server)
	}
	server = start(t, cfg)
	if server.URL() != url || changed() != 2 {
		t.Errorf("after damage: got %s, want %s as before: %v", server.URL(), url, logs.All())
	}
}

// TestRestoredDoesNotWantThePort: two control planes that were restored from one snapshot
// have different ports, also from the original. None logs an unclean stop.
func TestRestoredDoesNotWantThePort(t *testing.T) {
	logger, logs := observed(zap.WarnLevel)
	server := start(t, controlplane.Config{DataDir: t.TempDir()})
	testwait.Object(t, testwait.Named(admin(t, server).CoreV1().RESTClient(), "endpoints", "default", "kubernetes"), &corev1.Endpoints{}, func(endpoints *corev1.Endpoints) bool { //nolint:staticcheck // a Restore finds them
		return len(endpoints.Subsets) > 0
	})
	var snapshot bytes.Buffer
	if err := server.Snapshot(t.Context(), &snapshot); err != nil {
		t.Fatal(err)
	}
	urls := map[string]bool{server.URL(): true}
	for range 2 {
		dir := filepath.Join(t.TempDir(), "data")
		if err := controlplane.Restore(t.Context(), dir, bytes.NewReader(snapshot.Bytes()), controlplane.RestoreConfig{}); err != nil {
			t.Fatal(err)
		}
		urls[start(t, controlplane.Config{DataDir: dir, Logger: logger}).URL()] = true
	}
	if len(urls) != 3 || logs.Len() > 0 {
		t.Errorf("got URLs %v, want three and no line in the log: %v", urls, logs.All())
	}
}

// freePort returns an unused port.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestEveryAddressOfAFamily: 0.0.0.0 is not served over IPv6. It once was, without
// authentication too.
func TestEveryAddressOfAFamily(t *testing.T) {
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	_ = probe.Close()
	for _, c := range []struct {
		address   string
		four, six bool
	}{
		{"0.0.0.0:0", true, false},
		{":0", true, false},
		{"[::ffff:0.0.0.0]:0", true, false},
		{"[::]:0", true, true},
		{"[::1]:0", false, true},
		{"127.0.0.1:0", true, false},
	} {
		t.Run(strings.ReplaceAll(c.address, ":", "_"), func(t *testing.T) {
			server := start(t, controlplane.Config{BindAddress: c.address, InsecureAddr: c.address, AdvertiseAddress: "127.0.0.1"})
			for _, url := range []string{server.URL(), server.InsecureURL()} {
				for host, want := range map[string]bool{"127.0.0.1": c.four, "::1": c.six} {
					conn, err := net.Dial("tcp", net.JoinHostPort(host, port(t, url)))
					if err == nil {
						_ = conn.Close()
					}
					if got := err == nil; got != want {
						t.Errorf("%s at %s: connected %t, want %t: %v", url, host, got, want, err)
					}
				}
			}
		})
	}
}
