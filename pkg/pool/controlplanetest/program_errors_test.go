// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
	"github.com/kubembed/kubembed/pkg/pool/internal/place"
	"github.com/kubembed/kubembed/pkg/pool/internal/protocol"
)

// failure returns the error of New.
func failure(t *testing.T, cfg controlplanetest.Config) string {
	t.Helper()
	r := &fataler{recorder: recorder{T: t}}
	func() {
		defer func() { _ = recover() }() // of Fatalf
		controlplanetest.New(r, cfg)
		r.end()
	}()
	return strings.Join(r.errors, "\n")
}

// TestErrorsOfTheProgram: the error names the field or the variable, and the fault.
func TestErrorsOfTheProgram(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	check(t, os.WriteFile(plain, nil, 0o600))
	garbage := filepath.Join(dir, "garbage")
	check(t, os.WriteFile(garbage, []byte("\x7fELF"), 0o700))
	for _, c := range []struct{ program, want string }{
		{"/nowhere/controlplanes", `"/nowhere/controlplanes" is no program`},
		{dir, "is a directory"},
		{plain, "is not executable"},
		{garbage, "exec format error: is it built for this system?"},
		{"/bin/false", "has ended at its start (exit status 1)"},
		{"/bin/true", "has ended at its start (without an error: is it another program?)"},
	} {
		if got := failure(t, controlplanetest.Config{Program: c.program}); !strings.Contains(got, c.want) || !strings.Contains(got, "Config.Program") {
			t.Errorf("%s: got %q, want %q of Config.Program", c.program, got, c.want)
		}
		t.Setenv("KUBEMBED_CONTROLPLANES", c.program)
		if got := failure(t, controlplanetest.Config{}); !strings.Contains(got, c.want) || !strings.Contains(got, "KUBEMBED_CONTROLPLANES") {
			t.Errorf("%s: got %q, want %q of KUBEMBED_CONTROLPLANES", c.program, got, c.want)
		}
	}
}

// TestErrorOfTheConfiguration: the program is not asked, which takes it for zero.
func TestErrorOfTheConfiguration(t *testing.T) {
	cfg := controlplanetest.Config{ControlPlane: controlplanetest.ControlPlaneConfig{HollowNodes: -1}}
	if got, want := failure(t, cfg), "Config.ControlPlane.HollowNodes: must not be negative: got -1"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// copied returns the path of a program of its own, which ends with the test.
func copied(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "controlplanes")
	check(t, os.Link(os.Getenv("KUBEMBED_CONTROLPLANES"), program))
	return program
}

// TestAnotherProtocol: a program of another version refuses the lease, and the error
// says which one it is.
func TestAnotherProtocol(t *testing.T) {
	program := copied(t)
	dir := must(place.Of(program))(t)
	listener := must(net.Listen("unix", filepath.Join(dir, place.Socket)))(t)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"Message": "the test has version \"1\" of the protocol"}`, http.StatusBadRequest)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() { check(t, server.Close()); <-ended })
	got := failure(t, controlplanetest.Config{Program: program})
	if !strings.Contains(got, program+" (Config.Program)") || !strings.Contains(got, "of the protocol") {
		t.Errorf("got %q, want the program and the version", got)
	}
}

// lost kills the program of a control plane.
func lost(t *testing.T) {
	t.Helper()
	r := &recorder{T: t}
	cp := controlplanetest.New(r, controlplanetest.Config{})
	kill(t)
	<-cp.Done()
	r.end()
}

// TestStaleSocket: nothing listens on the socket of a program that was killed.
func TestStaleSocket(t *testing.T) {
	lost(t)
	dir := must(place.Of(os.Getenv("KUBEMBED_CONTROLPLANES")))(t)
	must(os.Lstat(filepath.Join(dir, place.Socket)))(t)
	controlplanetest.New(t, controlplanetest.Config{})
}

// TestProgramStops: a test that begins while the program stops gets the next one.
func TestProgramStops(t *testing.T) {
	for range 3 {
		first := &recorder{T: t}
		cp := controlplanetest.New(first, controlplanetest.Config{})
		stop(t)
		next := &recorder{T: t}
		controlplanetest.New(next, controlplanetest.Config{})
		next.end()
		if next.Failed() {
			t.Error(next.errors)
		}
		<-cp.Done()
		first.end()
	}
}

// stop asks the program to stop, and returns when it has begun to.
func stop(t *testing.T) {
	t.Helper()
	socket := filepath.Join(must(place.Of(os.Getenv("KUBEMBED_CONTROLPLANES")))(t), place.Socket)
	client := protocol.NewClient(socket)
	defer client.Close()
	check(t, must(client.Post(t.Context(), protocol.PathStop, protocol.Nothing{}))(t).Body.Close())
}

// TestPlaceOfTheProgram: a missing, a foreign and a long directory for temporary files.
func TestPlaceOfTheProgram(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the directory is that of the user's profile")
	}
	// Not t.TempDir: a directory whose path is too long for a socket is not used.
	root := must(os.MkdirTemp("", ""))(t)
	t.Cleanup(func() { check(t, os.RemoveAll(root)) })
	t.Setenv("TMPDIR", filepath.Join(root, "missing"))
	if got := failure(t, controlplanetest.Config{}); !strings.Contains(got, "set TMPDIR to a directory that this user can write to") {
		t.Errorf("missing: got %q", got)
	}
	t.Setenv("TMPDIR", root)
	mine := must(place.Dir())(t)
	check(t, os.Chmod(mine, 0o755))
	if got := failure(t, controlplanetest.Config{}); !strings.Contains(got, "delete it, or set another TMPDIR") {
		t.Errorf("readable by others: got %q", got)
	}
	long := filepath.Join(root, strings.Repeat("long", 30))
	check(t, os.Mkdir(long, 0o700))
	t.Setenv("TMPDIR", long)
	dir := must(place.Of(os.Getenv("KUBEMBED_CONTROLPLANES")))(t)
	listener := must(net.Listen("unix", filepath.Join(dir, "another")))(t)
	check(t, listener.Close())
}

// TestProgramInheritsNothing: neither files nor variables nor the directory of the test
// that starts the program.
func TestProgramInheritsNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	file := must(os.Create(filepath.Join(t.TempDir(), "open")))(t)
	defer func() { check(t, file.Close()) }()
	t.Setenv("GOCOVERDIR", t.TempDir())
	t.Setenv("KUBECONFIG", "of the test")
	lost(t)
	controlplanetest.New(t, controlplanetest.Config{})
	proc := filepath.Join("/proc", strconv.Itoa(process(t)))
	for _, name := range []string{"GOCOVERDIR", "KUBECONFIG", "KUBEMBED_CONTROLPLANES"} {
		if environ := string(must(os.ReadFile(filepath.Join(proc, "environ")))(t)); strings.Contains(environ, name+"=") {
			t.Errorf("the program has %s", name)
		}
	}
	if cwd := must(os.Readlink(filepath.Join(proc, "cwd")))(t); cwd != must(place.Of(os.Getenv("KUBEMBED_CONTROLPLANES")))(t) {
		t.Errorf("the program works in %s", cwd)
	}
	for _, fd := range must(os.ReadDir(filepath.Join(proc, "fd")))(t) {
		if name, err := os.Readlink(filepath.Join(proc, "fd", fd.Name())); err == nil && name == file.Name() {
			t.Errorf("the program has %s open", name)
		}
	}
}
