package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFlagErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lost := t.TempDir()
	if err := os.WriteFile(filepath.Join(lost, "cluster.json"), []byte(`{"format":1,"etcd":"standalone"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const free = "--bind-address=127.0.0.1:0"
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"unknown":         {[]string{"--nope"}, []string{"-nope", "-h"}},
		"argument":        {[]string{"start"}, []string{`"start"`}},
		"address":         {[]string{"--bind-address=master"}, []string{"--bind-address:", "must be an IP address"}},
		"all at once":     {[]string{"--bind-address=:x", "--insecure-bind-address=1.2.3", "--hosts=a_b"}, []string{"--bind-address:", "--insecure-bind-address:", "--hosts[0]:"}},
		"address taken":   {[]string{"--bind-address=" + taken.Addr().String()}, []string{"--bind-address:", "in use", taken.Addr().String()}},
		"insecure taken":  {[]string{free, "--insecure-bind-address=" + taken.Addr().String()}, []string{"--insecure-bind-address:", "in use"}},
		"foreign address": {[]string{"--bind-address=192.0.2.1"}, []string{"--bind-address:", "192.0.2.1:6443", "not an address of this machine"}},
		"data folder":     {[]string{free, "--data-dir=" + file}, []string{"--data-dir:", file}},
		"data lost":       {[]string{free, "--data-dir=" + lost}, []string{"--data-dir:", lost, "--new-cluster"}},
		"lifetime":        {[]string{free, "--join-lifetime=0"}, []string{"--join-lifetime:", "0s"}},
		"kubeconfigs":     {[]string{free, "--kubeconfig-dir=" + file}, []string{"--kubeconfig-dir:", file}},
	} {
		t.Run(name, func(t *testing.T) {
			err := fails(t, test.args...)
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "Config.") {
				t.Errorf("a field of the library instead of a flag: %v", err)
			}
		})
	}
}

func TestHelpIsNoError(t *testing.T) {
	stderr := newOutput("")
	if err := run(t.Context(), []string{"-h"}, newOutput(""), stderr); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stderr.String(), "--insecure-bind-address IP[:port]") {
		t.Error(stderr)
	}
}

func TestPorts(t *testing.T) {
	for address, want := range map[string]string{
		"":             "",
		"10.0.0.1":     "10.0.0.1:6443",
		"10.0.0.1:443": "10.0.0.1:443",
		"::1":          "[::1]:6443",
		"[::1]:443":    "[::1]:443",
		"localhost":    "localhost:6443",
		":443":         ":443",
	} {
		if got := withPort(address, "6443"); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
