// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// packages are the files that the test needs, with their Debian packages.
var packages = []struct{ name, file string }{
	{"containerd", "containerd"},
	{"containerd", "ctr"},
	{"runc", "runc"},
	{"iproute2", "ip"},
	{"iptables", "iptables"}, // the kubelet looks for it
	{"containernetworking-plugins", "bridge"},
	{"containernetworking-plugins", "host-local"},
	{"containernetworking-plugins", "loopback"},
}

// prerequisites skips the test if it cannot run, with the remedy.
func prerequisites(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		unable(t, "containerd and kubelets need root: run it with sudo")
	}
	if err := tryNamespaces(); err != nil {
		unable(t, "this process may not make namespaces, as in a container that is not privileged: run it on a host, or in a container with --privileged: %v", err)
	}
	if err := tryCgroup(); err != nil {
		unable(t, "this process may not make cgroups, as in a container that is not privileged: run it on a host, or in a container with --privileged --cgroupns=host: %v", err)
	}
	for _, directory := range ownDirs {
		if strings.HasPrefix(os.TempDir()+"/", directory+"/") {
			unable(t, "the directory for temporary files is in %s, of which every machine has its own: set TMPDIR to another", directory)
		}
	}
	names := missing()
	if len(names) == 0 {
		return
	}
	if !*install {
		unable(t, "Debian packages are missing: apt-get install %[1]s, or run the test with -args -install", strings.Join(names, " "))
	}
	aptGet(t, "update")
	aptGet(t, append([]string{"install", "--yes", "--no-install-recommends"}, names...)...)
	if names := missing(); len(names) > 0 {
		t.Fatalf("installed, but these packages lack the files that the test needs: %v", names)
	}
}

// unable skips the test, or fails it with -require.
func unable(t *testing.T, format string, args ...any) {
	t.Helper()
	if *require {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// missing returns the packages that are not installed.
func missing() []string {
	var names []string
	for _, p := range packages {
		_, err := exec.LookPath(p.file)
		if _, plugin := cniPlugin(p.file); err != nil && !plugin {
			names = append(names, p.name)
		}
	}
	return slices.Compact(names)
}

// cniPlugin returns the directory of a CNI plugin: Debian's or upstream's.
func cniPlugin(name string) (directory string, ok bool) {
	for _, directory := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(directory, name)); err == nil {
			return directory, true
		}
	}
	return "", false
}

func aptGet(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		unable(t, "packages are missing, and -install knows only apt-get: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "apt-get", args...)
	c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", c.Args, err, out)
	}
}

func tryNamespaces() error {
	c := exec.Command("/bin/true")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: allOfIt}
	return c.Run()
}

func tryCgroup() error {
	all := hierarchies()
	if len(all) == 0 {
		return &fs.PathError{Op: "no cgroups", Path: cgroupfs, Err: errors.ErrUnsupported}
	}
	dir, err := os.MkdirTemp(all[0], prefix)
	if err != nil {
		return err
	}
	return os.Remove(dir)
}
