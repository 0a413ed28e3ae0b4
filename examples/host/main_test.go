// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// asHost makes the test binary run as the service.
const asHost = "KUBEMBED_TEST_IS_HOST"

func TestMain(m *testing.M) {
	if os.Getenv(asHost) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestService starts the service as a process, calls it by HTTP, stops it with SIGTERM,
// and starts it again on its data and on the data of a snapshot.
func TestService(t *testing.T) {
	dir := t.TempDir()
	data, backup := "-data="+filepath.Join(dir, "data"), filepath.Join(dir, "backup")

	h := start(t, data, "-backup="+backup)
	h.want(t, http.MethodGet, "notes/monday", "", http.StatusNotFound, `configmaps "note-monday" not found`)
	h.want(t, http.MethodGet, "notes/kube-root-ca.crt", "", http.StatusNotFound, "not found")
	h.want(t, http.MethodPut, "notes/big", strings.Repeat("x", 1<<17), http.StatusRequestEntityTooLarge, "too large")
	h.want(t, http.MethodPut, "notes/binary", "\xff\x00\xfe", http.StatusOK, "saved")
	if got := h.want(t, http.MethodGet, "notes/binary", "", http.StatusOK, ""); got != "\xff\x00\xfe" {
		t.Errorf("got note %q, want the bytes that were saved", got)
	}
	h.want(t, http.MethodPut, "notes/No_Name", "x", http.StatusUnprocessableEntity, "RFC 1123")
	h.want(t, http.MethodPut, "notes/long", strings.Repeat("x", 1<<17), http.StatusRequestEntityTooLarge, "too large")
	h.want(t, http.MethodPut, "notes/monday", "buy milk", http.StatusOK, "saved")
	h.want(t, http.MethodGet, "notes/monday", "", http.StatusOK, "buy milk")
	snapshot := strings.TrimSpace(h.want(t, http.MethodPost, "snapshots", "", http.StatusOK, backup))
	h.want(t, http.MethodPut, "notes/monday", "sell milk", http.StatusOK, "saved")
	metrics := h.want(t, http.MethodGet, "metrics", "", http.StatusOK, "notes_saved_total 3")
	for _, name := range []string{"apiserver_request_total", "kubembed_etcd_database_size_bytes", "etcd_server_has_leader", "go_goroutines"} {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("/metrics has no %s of the control plane", name)
		}
	}
	h.want(t, http.MethodPut, "notes/page", "<!DOCTYPE html>", http.StatusOK, "saved")
	h.want(t, http.MethodGet, "notes/page", "", http.StatusOK, "<!DOCTYPE html>")
	h.stop(t)

	h = start(t, data, "-backup="+backup)
	h.want(t, http.MethodGet, "notes/monday", "", http.StatusOK, "sell milk")
	h.stop(t)

	files, err := controlplane.ListSnapshots(backup)
	if err != nil || len(files) == 0 || files[len(files)-1].Path != snapshot {
		t.Errorf("snapshots: %v, %v; want %s", files, err, snapshot)
	}
	h = start(t, "-data="+filepath.Join(dir, "restored"), "-backup="+filepath.Join(dir, "backup2"), "-restore="+snapshot)
	h.want(t, http.MethodGet, "notes/monday", "", http.StatusOK, "buy milk")
	h.stop(t)
}

type host struct {
	cmd  *exec.Cmd
	url  string
	logs chan string
}

// start runs the service, and reads its log until it has the address.
func start(t *testing.T, args ...string) *host {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{cmd: exec.CommandContext(t.Context(), program, append(args, "-listen=127.0.0.1:0")...), logs: make(chan string, 1)}
	h.cmd.Env = append(os.Environ(), asHost+"=1")
	stderr, err := h.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for h.url == "" && lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			h.url = "http://" + line.Address + "/"
		}
	}
	if h.url == "" {
		t.Fatalf("it does not listen: %v\n%s", h.cmd.Wait(), log.String())
	}
	go func() {
		for lines.Scan() {
			log.WriteString(lines.Text() + "\n")
		}
		h.logs <- log.String()
	}()
	return h
}

// want sends a request, and returns the body of the answer.
func (h *host) want(t *testing.T, method, path, body string, status int, text string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") { // no note is a page
		t.Errorf("%s %s: %s", method, path, kind)
	}
	if response.StatusCode != status || !strings.Contains(string(answer), text) {
		t.Errorf("%s %s: %s, %.500s; want %d, %q", method, path, response.Status, answer, status, text)
	}
	return string(answer)
}

// stop ends the service as a service manager does.
func (h *host) stop(t *testing.T) {
	t.Helper()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	log := <-h.logs
	if err := h.cmd.Wait(); err != nil || !strings.Contains(log, `"msg":"stopped"`) {
		t.Errorf("it ended with %v:\n%s", err, log)
	}
}
