// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package controlplane_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

const stranger = 65534

// TestWhatOthersControlIsRefused: a user who can write to files that a control plane
// trusts could authenticate as any user in it, or let its process overwrite other files.
func TestWhatOthersControlIsRefused(t *testing.T) {
	mkdir := func(t *testing.T, mode fs.FileMode, path ...string) {
		t.Helper()
		dir := filepath.Join(path...)
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
	}
	give := func(t *testing.T, path ...string) {
		t.Helper()
		if os.Geteuid() != 0 {
			t.Skip("giving a file away needs root")
		}
		if err := os.Lchown(filepath.Join(path...), stranger, stranger); err != nil {
			t.Fatal(err)
		}
	}
	for name, prepare := range map[string]func(t *testing.T, dir string) controlplane.Config{
		"DataDir, world-writable": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o777, dir)
			return controlplane.Config{}
		},
		"DataDir, group-writable, as a volume with fsGroup": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o775|fs.ModeSetgid, dir)
			return controlplane.Config{}
		},
		"DataDir, sticky": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o777|fs.ModeSticky, dir)
			return controlplane.Config{}
		},
		"DataDir of a stranger": func(t *testing.T, dir string) controlplane.Config {
			give(t, dir)
			return controlplane.Config{}
		},
		"DataDir of a stranger, through a link of ours": func(t *testing.T, dir string) controlplane.Config {
			give(t, dir)
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(dir, link); err != nil {
				t.Fatal(err)
			}
			return controlplane.Config{DataDir: link}
		},
		"etcd": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o777, dir, "etcd")
			return controlplane.Config{}
		},
		"etcd/member of a stranger": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o700, dir, "etcd", "member")
			give(t, dir, "etcd", "member")
			return controlplane.Config{}
		},
		"pki": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o777, dir, "pki")
			return controlplane.Config{}
		},
		"pki/etcd": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o770, dir, "pki", "etcd")
			return controlplane.Config{}
		},
		"a key of a stranger": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o700, dir, "pki")
			if err := os.WriteFile(filepath.Join(dir, "pki", "ca.key"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			give(t, dir, "pki", "ca.key")
			return controlplane.Config{}
		},
		"a key that others may write": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o700, dir, "pki")
			path := filepath.Join(dir, "pki", "ca.key")
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666)); err != nil {
				t.Fatal(err)
			}
			return controlplane.Config{}
		},
		"the directory of snapshots": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o777, dir, "snapshots")
			return controlplane.Config{Snapshots: controlplane.Snapshots{Dir: filepath.Join(dir, "snapshots"), Interval: time.Hour}}
		},
		"the directory of snapshots in DataDir": func(t *testing.T, dir string) controlplane.Config {
			mkdir(t, 0o777, dir, "snapshots")
			return controlplane.Config{Snapshots: controlplane.Snapshots{Interval: time.Hour}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			mkdir(t, 0o700, dir)
			cfg := prepare(t, dir)
			if cfg.DataDir == "" {
				cfg.DataDir = dir
			}
			server, err := controlplane.Start(t.Context(), cfg)
			if err == nil {
				closeServer(t, server)
			}
			if !errors.Is(err, controlplane.ErrUntrusted) || lacks(err.Error(), "Config.", "ch") != "" {
				t.Errorf("Start: got %v, want ErrUntrusted that names a field and the cure", err)
			}
		})
	}
}

// TestLockIsNoLink: a start does not follow a link at lock.
func TestLockIsNoLink(t *testing.T) {
	for name, link := range map[string]func(string, string) error{
		"symbolic": os.Symlink, "hard": os.Link,
		"a pipe": func(_, path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			victim := filepath.Join(t.TempDir(), "authorized_keys")
			const content = "of great worth\n"
			if err := os.WriteFile(victim, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, at := range []string{"lock", "etcd/lock"} {
				dir := t.TempDir()
				path := filepath.Join(dir, at)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), link(victim, path)); err != nil {
					t.Fatal(err)
				}
				server, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir})
				if err == nil {
					closeServer(t, server)
				}
				if !errors.Is(err, controlplane.ErrUntrusted) || lacks(err.Error(), at) != "" {
					t.Errorf("Start: got %v, want ErrUntrusted about %s", err, at)
				}
				if err := controlplane.Restore(t.Context(), dir, bytes.NewReader(nil), controlplane.RestoreConfig{}); at == "lock" && !errors.Is(err, controlplane.ErrUntrusted) {
					t.Errorf("Restore: got %v, want ErrUntrusted", err)
				}
				if data, err := os.ReadFile(victim); err != nil || string(data) != content {
					t.Fatalf("the file: got %q, %v, want %q", data, err, content)
				}
			}
		})
	}
}

// TestAuditLogOfOthersIsRefused: the audit log is not written to a place that other users
// control, but may be in a directory like /tmp.
func TestAuditLogOfOthersIsRefused(t *testing.T) {
	base := t.TempDir()
	audit := func(path string) controlplane.Config {
		return controlplane.Config{Audit: apiserver.Audit{Log: apiserver.AuditLog{Path: path}}}
	}
	open := filepath.Join(base, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	refused := func(path string) {
		t.Helper()
		server, err := controlplane.Start(t.Context(), audit(path))
		if err == nil {
			closeServer(t, server)
		}
		if !errors.Is(err, controlplane.ErrUntrusted) || lacks(err.Error(), "Audit.Log.Path") != "" {
			t.Errorf("%s: got %v, want ErrUntrusted about Audit.Log.Path", path, err)
		}
	}
	refused(filepath.Join(open, "audit.log"))
	if err := os.Chmod(open, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		link := filepath.Join(open, "link.log")
		if err := errors.Join(os.Symlink(filepath.Join(base, "victim"), link), os.Lchown(link, stranger, stranger)); err != nil {
			t.Fatal(err)
		}
		refused(link)
	}
	closeServer(t, start(t, audit(filepath.Join(open, "audit.log"))))
}
