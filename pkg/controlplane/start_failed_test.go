// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestEveryBadFieldIsNamed: the error names all invalid fields.
func TestEveryBadFieldIsNamed(t *testing.T) {
	bad := []struct {
		name string
		set  func(*controlplane.Config)
		want []string // in the error
	}{
		{"no port", func(c *controlplane.Config) { c.BindAddress = "x" }, []string{`BindAddress: Invalid value: "x"`, "127.0.0.1:6443"}},
		{"a name", func(c *controlplane.Config) { c.BindAddress = "example.com:6443" }, []string{`BindAddress: Invalid value: "example.com:6443"`, "IP address"}},
		{"port too high", func(c *controlplane.Config) { c.BindAddress = "127.0.0.1:65536" }, []string{"BindAddress", "65535"}},
		{"insecure without port", func(c *controlplane.Config) { c.InsecureAddr = "1.2.3.4" }, []string{`InsecureAddr: Invalid value: "1.2.3.4"`}},
		{"the same address twice", func(c *controlplane.Config) { c.BindAddress, c.InsecureAddr = "127.0.0.1:6443", "127.0.0.1:6443" },
			[]string{"InsecureAddr", "BindAddress", "another port"}},
		{"advertise with a port", func(c *controlplane.Config) { c.AdvertiseAddress = "192.0.2.1:6443" }, []string{`AdvertiseAddress: Invalid value: "192.0.2.1:6443"`}},
		{"advertise everything", func(c *controlplane.Config) { c.AdvertiseAddress = "0.0.0.0" }, []string{`AdvertiseAddress: Invalid value: "0.0.0.0"`}},
		{"host", func(c *controlplane.Config) { c.Hosts = []string{"good.example.com", "not a name!"} }, []string{`Hosts[1]: Invalid value: "not a name!"`}},
		{"no range", func(c *controlplane.Config) { c.ServiceCIDR = "10.0.0.1" }, []string{`ServiceCIDR: Invalid value: "10.0.0.1"`}},
		{"range too small", func(c *controlplane.Config) { c.ServiceCIDR = "10.0.0.0/30" }, []string{`ServiceCIDR: Invalid value: "10.0.0.0/30"`, "8 addresses"}},
		{"unknown group", func(c *controlplane.Config) { c.RuntimeConfig = map[string]string{"nonsense.example.com/v1": "true"} },
			[]string{"RuntimeConfig", "nonsense.example.com"}},
		{"neither on nor off", func(c *controlplane.Config) { c.RuntimeConfig = map[string]string{"apps/v1": "perhaps"} },
			[]string{`RuntimeConfig[apps/v1]: Invalid value: "perhaps"`}},
		{"unknown plugin", func(c *controlplane.Config) { c.EnableAdmissionPlugins = []string{"NodeRestriction", "Nonsense"} },
			[]string{`EnableAdmissionPlugins[1]: Unsupported value: "Nonsense"`, `"NodeRestriction"`, `"ServiceAccount"`}},
		{"unknown plugin off", func(c *controlplane.Config) { c.DisableAdmissionPlugins = []string{"Nonsense"} },
			[]string{`DisableAdmissionPlugins[0]: Unsupported value: "Nonsense"`}},
		{"on and off", func(c *controlplane.Config) {
			c.EnableAdmissionPlugins, c.DisableAdmissionPlugins = []string{"ServiceAccount"}, []string{"ServiceAccount"}
		}, []string{"DisableAdmissionPlugins", `"ServiceAccount"`, "also in EnableAdmissionPlugins"}},
		{"requests", func(c *controlplane.Config) { c.MaxRequestsInFlight = -1 }, []string{"MaxRequestsInFlight: Invalid value: -1"}},
		{"writes", func(c *controlplane.Config) { c.MaxMutatingRequestsInFlight = -2 }, []string{"MaxMutatingRequestsInFlight: Invalid value: -2"}},
		{"request timeout", func(c *controlplane.Config) { c.RequestTimeout = -time.Second }, []string{"RequestTimeout: Invalid value"}},
		{"event TTL", func(c *controlplane.Config) { c.EventTTL = -time.Second }, []string{"EventTTL: Invalid value"}},
		{"quota", func(c *controlplane.Config) { c.Etcd.QuotaBytes = -1 }, []string{"Etcd.QuotaBytes: Invalid value: -1"}},
		{"policy for no log", func(c *controlplane.Config) { c.Audit = apiserver.Audit{PolicyFile: "policy.yaml"} }, []string{"Audit.Log.Path: Required value"}},
		{"audit size", func(c *controlplane.Config) { c.Audit.Log.MaxSizeMB = -1 }, []string{"Audit.Log.MaxSizeMB: Invalid value: -1"}},
		{"audit backups", func(c *controlplane.Config) { c.Audit.Log.MaxBackups = -1 }, []string{"Audit.Log.MaxBackups: Invalid value: -1"}},
	}
	for _, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			var cfg controlplane.Config
			b.set(&cfg)
			_ = wantError(t, cfg, b.want...)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		cfg := controlplane.Config{
			BindAddress: "x", InsecureAddr: "1.2.3.4", AdvertiseAddress: "here", Hosts: []string{"not a name!"},
			ServiceCIDR: "y", RuntimeConfig: map[string]string{"apps/v1": "perhaps", "nonsense.example.com/v1": "true"},
			EnableAdmissionPlugins: []string{"Nonsense"}, DisableAdmissionPlugins: []string{"Rubbish"},
			MaxRequestsInFlight: -1, MaxMutatingRequestsInFlight: -1, RequestTimeout: -1, EventTTL: -1,
			Audit: apiserver.Audit{PolicyFile: "p", Log: apiserver.AuditLog{MaxSizeMB: -1, MaxBackups: -1}}, Etcd: controlplane.Etcd{QuotaBytes: -1},
		}
		_ = wantError(t, cfg, "BindAddress: ", "InsecureAddr: ", "AdvertiseAddress: ", "Hosts[0]: ", "ServiceCIDR: ",
			"RuntimeConfig[apps/v1]: ", "nonsense.example.com", "EnableAdmissionPlugins[0]: ", "DisableAdmissionPlugins[0]: ",
			"MaxRequestsInFlight: ", "MaxMutatingRequestsInFlight: ", "RequestTimeout: ", "EventTTL: ",
			"Audit.Log.Path: ", "Audit.Log.MaxSizeMB: ", "Audit.Log.MaxBackups: ", "Etcd.QuotaBytes: ")
	})
}

// TestAuditPolicyThatIsNone: an invalid policy is found at the start, which reads the
// file.
func TestAuditPolicyThatIsNone(t *testing.T) {
	dir := t.TempDir()
	audit := apiserver.Audit{Log: apiserver.AuditLog{Path: filepath.Join(dir, "audit.log")}, PolicyFile: filepath.Join(dir, "missing.yaml")}
	_ = wantError(t, controlplane.Config{Audit: audit}, "Audit", "missing.yaml")
}

func TestAddressInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := listener.Addr().String()
	_ = wantError(t, controlplane.Config{BindAddress: taken}, "Config.BindAddress", taken, "in use")
	_ = wantError(t, controlplane.Config{InsecureAddr: taken}, "Config.InsecureAddr", taken, "in use")
}

func TestAddressOfAnotherMachine(t *testing.T) {
	_ = wantError(t, controlplane.Config{BindAddress: "192.0.2.1:0"}, "Config.BindAddress", "192.0.2.1:0", "not an address of this machine")
	_ = wantError(t, controlplane.Config{InsecureAddr: "192.0.2.1:0"}, "Config.InsecureAddr", "192.0.2.1:0", "not an address of this machine")
}

// TestAddressIsAskedForFirst: a start that cannot bind its address does not touch the
// data directory.
func TestAddressIsAskedForFirst(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_ = wantError(t, controlplane.Config{BindAddress: "192.0.2.1:0", DataDir: dir}, "BindAddress")
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: got error %v, want that it does not exist", err)
	}
}

func TestDataDirInUse(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	createPod(t, admin(t, server), "before")
	before := list(t, dir)
	_, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "Config.DataDir") || !strings.Contains(err.Error(), dir) {
		t.Errorf("second start: got %v, want Config.DataDir and %s", err, dir)
	}
	if !errors.Is(err, etcd.ErrInUse) {
		t.Errorf("got %v, want etcd.ErrInUse", err)
	}
	if after := list(t, dir); !slices.Equal(before, after) {
		t.Errorf("got files %v, want %v", after, before)
	}
	// The first control plane is not affected.
	createPod(t, overTLS(t, server, "admin", "system:masters"), "after")
}

func TestDataDirInUseByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	other := startProcess(t, "hold", dir)
	other.readLine(t)
	err := wantError(t, controlplane.Config{DataDir: dir}, "Config.DataDir", dir, "process ")
	if !errors.Is(err, etcd.ErrInUse) {
		t.Errorf("got %v, want etcd.ErrInUse", err)
	}
}

func TestDataDirIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = wantError(t, controlplane.Config{DataDir: file}, "Config.DataDir", file)
	_ = wantError(t, controlplane.Config{DataDir: filepath.Join(file, "below")}, "Config.DataDir", file)
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file: got %q, %v, want precious", content, err)
	}
}

func TestTemporaryDirectoryCannotBeMade(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	_ = wantStartFails(t, controlplane.Config{}, "TMPDIR")
}

// TestDamagedDataDir: the error names the file, nothing is changed, and with the repaired
// file the control plane starts.
func TestDamagedDataDir(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	createPod(t, admin(t, server), "precious")
	closeServer(t, server)

	db := filepath.Join(dir, "etcd", "member", "snap", "db")
	for _, damage := range []struct {
		name   string
		file   string
		change func(t *testing.T, file string)
		is     error
		want   []string
	}{
		{"database is short", db, func(t *testing.T, file string) {
			if err := os.Truncate(file, 3*int64(os.Getpagesize())); err != nil {
				t.Fatal(err)
			}
		}, etcd.ErrCorrupt, []string{"backup"}},
		{"database is noise", db, overwrite("noise"), etcd.ErrCorrupt, []string{"backup"}},
		{"database is of a newer etcd", db, setClusterVersion("3.99.0"), etcd.ErrNewerVersion, []string{"by a newer etcd: clusterVersion is 3.99.0", "use the newer version"}},
		{"CA certificate", filepath.Join(dir, "pki", "ca.crt"), overwrite("noise"), nil, []string{"restore", "delete"}},
		{"CA key", filepath.Join(dir, "pki", "ca.key"), overwrite("noise"), nil, []string{"restore", "delete"}},
		{"service-account key", filepath.Join(dir, "pki", "sa.key"), overwrite("noise"), nil, []string{"restore", "delete"}},
	} {
		t.Run(damage.name, func(t *testing.T) {
			good, err := os.ReadFile(damage.file)
			if err != nil {
				t.Fatal(err)
			}
			damage.change(t, damage.file)
			bad, err := os.ReadFile(damage.file)
			if err != nil {
				t.Fatal(err)
			}
			before := list(t, dir)
			err = wantError(t, controlplane.Config{DataDir: dir}, append(damage.want, "DataDir", damage.file)...)
			if damage.is != nil && !errors.Is(err, damage.is) {
				t.Errorf("got %v, want %v", err, damage.is)
			}
			// etcd takes a snapshot after a number of entries.
			after := slices.DeleteFunc(list(t, dir), func(file string) bool {
				return strings.HasSuffix(file, ".snap") && !slices.Contains(before, file)
			})
			if !slices.Equal(before, after) {
				t.Errorf("got files %v, want %v", after, before)
			}
			if still, err := os.ReadFile(damage.file); err != nil || string(still) != string(bad) {
				t.Errorf("the damaged file: got another content, %v, want it as it was", err)
			}
			if err := os.WriteFile(damage.file, good, 0o600); err != nil {
				t.Fatal(err)
			}
			again := start(t, controlplane.Config{DataDir: dir})
			if got := podNames(t, admin(t, again)); !slices.Equal(got, []string{"precious"}) {
				t.Errorf("pods: got %v, want [precious]", got)
			}
			closeServer(t, again)
		})
	}
}

func overwrite(content string) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func setClusterVersion(version string) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		db, err := bbolt.Open(file, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("cluster")).Put([]byte("clusterVersion"), []byte(version))
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// wantError checks that a start fails, that the error contains all of want, and that
// nothing is left.
func wantError(t *testing.T, cfg controlplane.Config, want ...string) error {
	t.Helper()
	temp := ownTemp(t)
	err := wantStartFails(t, cfg, want...)
	if left := entries(t, temp); len(left) != 0 {
		t.Errorf("left in the temporary directory: got %v, want nothing", left)
	}
	return err
}

func wantStartFails(t *testing.T, cfg controlplane.Config, want ...string) error {
	t.Helper()
	files, goroutines := openFiles(t), goleak.IgnoreCurrent()
	server, err := controlplane.Start(t.Context(), cfg)
	if err == nil {
		closeServer(t, server)
		t.Fatalf("%+v: got no error, want one", cfg)
	}
	for _, want := range append(want, "controlplane: ") {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q in it", err, want)
		}
	}
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
	wantOpenFiles(t, files)
	return err
}

// list returns everything under dir.
func list(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
