// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/apiserver"
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
	key, long := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "long")
	for name, size := range map[string]int{key: 32, long: 33} {
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const free = "--bind-address=127.0.0.1:0"
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"unknown":         {[]string{"--nope"}, []string{"--nope", "-h"}},
		"misspelt":        {[]string{"--data-dirr=x"}, []string{"--data-dirr", "did you mean --data-dir?"}},
		"cut short":       {[]string{"--simulated=2"}, []string{"--simulated", "did you mean --simulated-nodes?"}},
		"no value":        {[]string{"--data-dir"}, []string{"--data-dir: the value is missing"}},
		"level":           {[]string{"--v=much"}, []string{`--v: "much"`, "whole number"}},
		"truth":           {[]string{"--scheduler=yes"}, []string{`--scheduler: "yes"`, "true or false"}},
		"nodes":           {[]string{"--simulated-nodes=-1"}, []string{`--simulated-nodes: "-1"`, "at least 0"}},
		"unit":            {[]string{"--join-lifetime=1y"}, []string{`--join-lifetime: "1y"`, "7d", "units d"}},
		"negative":        {[]string{"--snapshot-interval=-1h"}, []string{`--snapshot-interval: "-1h"`, "must not be negative"}},
		"snapshots":       {[]string{"--snapshot-interval=1h"}, []string{"--snapshot-dir"}},
		"snapshots never": {[]string{"--snapshot-keep=3"}, []string{"--snapshot-interval"}},
		"snapshot key":    {[]string{"--snapshot-key-file=" + file}, []string{"--snapshot-key-file: " + file, "32 random bytes", "/dev/urandom"}},
		"key":             {[]string{"--encryption-key-file=" + file}, []string{"--encryption-key-file: " + file, "32 random bytes"}},
		"long key":        {[]string{"--encryption-key-file=" + long}, []string{"--encryption-key-file[0]", "32"}},
		"resources":       {[]string{"--encryption-resources=secrets"}, []string{"--encryption-key-file"}},
		"no resource":     {[]string{"--encryption-key-file=" + key, "--encryption-resources=Secrets"}, []string{"--encryption-resources[0]"}},
		"certificate":     {[]string{"--tls-cert-file=" + file}, []string{"--tls-private-key-file: ", "together with --tls-cert-file"}},
		"no certificate":  {[]string{"--tls-cert-file=" + file, "--tls-private-key-file=" + file}, []string{"--tls-cert-file: ", file, "certificate in PEM"}},
		"no root CA":      {[]string{"--root-ca-file=" + file}, []string{"--root-ca-file: ", "certificates in PEM"}},
		"no such root CA": {[]string{"--root-ca-file=" + file + "s"}, []string{"--root-ca-file: ", file + "s"}},
		"authentication":  {[]string{"--authentication-config=" + file}, []string{"--authentication-config: ", file}},
		"no admission":    {[]string{"--admission-control-config-file=" + file}, []string{"--admission-control-config-file: ", file}},
		"no plugin":       {[]string{"--enable-admission-plugins=Nope"}, []string{"--enable-admission-plugins[0]", "Nope"}},
		"plugin without":  {[]string{"--enable-admission-plugins=EventRateLimit"}, []string{"--enable-admission-plugins[0]", "add one to --admission-control-config-file, or leave it out"}},
		"audit policy":    {[]string{"--audit-log-path=" + file, "--audit-policy-file=" + file}, []string{"--audit-policy-file: ", file}},
		"no audit log":    {[]string{"--audit-policy-file=" + file}, []string{"--audit-log-path: Required value: --audit-policy-file is set but nothing would be written: set --audit-log-path"}},
		"restore":         {[]string{"--restore=" + file}, []string{"--restore:", "--data-dir"}},
		"nothing there":   {[]string{free, "--data-dir=" + filepath.Join(t.TempDir(), "data"), "--restore=" + file + "s"}, []string{"--restore:", file + "s"}},
		"no snapshot":     {[]string{free, "--data-dir=" + filepath.Join(t.TempDir(), "data"), "--restore=" + file}, []string{"--restore:", "truncated"}},
		"advertised":      {[]string{"--advertise-address=master"}, []string{"--advertise-address:", "IP address"}},
		"new of what":     {[]string{"--new-cluster"}, []string{"--new-cluster", "--data-dir"}},
		"config":          {[]string{"--config=" + file + "s"}, []string{"--config:", file + "s"}},
		"argument":        {[]string{"start"}, []string{`"start"`}},
		"address":         {[]string{"--bind-address=master"}, []string{"--bind-address:", "must be an IP address"}},
		"all at once":     {[]string{"--bind-address=:x", "--insecure-bind-address=1.2.3", "--hosts=a_b"}, []string{"--bind-address:", "--insecure-bind-address:", "--hosts[0]:"}},
		"address taken":   {[]string{"--bind-address=" + taken.Addr().String()}, []string{"--bind-address:", "in use", taken.Addr().String()}},
		"insecure taken":  {[]string{free, "--insecure-bind-address=" + taken.Addr().String()}, []string{"--insecure-bind-address:", "in use"}},
		"foreign address": {[]string{"--bind-address=192.0.2.1"}, []string{"--bind-address:", "192.0.2.1:6443", "not an address of this machine"}},
		"data directory":  {[]string{free, "--data-dir=" + file}, []string{"--data-dir:", file}},
		"data lost":       {[]string{free, "--data-dir=" + lost}, []string{"--data-dir:", lost, "--new-cluster"}},
		"lifetime":        {[]string{free, "--join-lifetime=0"}, []string{`--join-lifetime: "0"`, "more than zero"}},
		"kubeconfigs":     {[]string{free, "--kubeconfig-dir=" + file}, []string{"--kubeconfig-dir:", file}},
	} {
		t.Run(name, func(t *testing.T) {
			err := fails(t, test.args...)
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if field := goField.FindString(path.ReplaceAllString(err.Error(), "")); field != "" {
				t.Errorf("a field of the library, %s, instead of a flag: %v", field, err)
			}
		})
	}
}

// goField matches the fields of the library's configuration.
var goField = regexp.MustCompile(`\w*Config\.\w+|\b[A-Z][a-z]+[A-Z]\w*\b|\b(?:Snapshots|Encryption|Keys|Hosts)[.\[:]`)

// path matches the absolute paths of a test, values in quotes, and kinds of files.
var path = regexp.MustCompile(`/\S+|"[^"]*"|\b[A-Z]\w+Configuration\b`)

func TestEveryFieldHasItsFlag(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, make([]byte, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := parse([]string{
		"--demo", "--data-dir=d", "--new-cluster", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--insecure-bind-address=127.0.0.1",
		"--hosts=a", "--hosts=b,c", "--snapshot-interval=1d", "--snapshot-keep=2", "--snapshot-dir=s", "--snapshot-key-file=" + key,
		"--encryption-key-file=" + key, "--encryption-resources=secrets", "--tls-cert-file=c", "--tls-private-key-file=k", "--root-ca-file=" + key,
		"--authentication-config=a", "--admission-control-config-file=b", "--enable-admission-plugins=EventRateLimit", "--audit-log-path=l", "--audit-policy-file=p",
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := opts.config(newOutput(""))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "c"}; !slices.Equal(cfg.Hosts, want) {
		t.Errorf("hosts %q, want %q", cfg.Hosts, want)
	}
	if cfg.Snapshots.Interval != 24*time.Hour {
		t.Errorf("snapshots every %v", cfg.Snapshots.Interval)
	}
	var check func(prefix string, v reflect.Value)
	check = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			name := prefix + v.Type().Field(i).Name
			switch value := v.Field(i); {
			case value.IsZero(), name == "Logger", name == "Components":
			case value.Kind() == reflect.Struct:
				check(name+".", value)
			default:
				err := fieldpath.Detail(field.Invalid(field.NewPath(name), "", ""), "see %s", fieldpath.Name("Config."+name))
				text := inFlags(fmt.Errorf("controlplane: invalid Config: %w", field.ErrorList{err}.ToAggregate())).Error()
				if goField.MatchString(strings.TrimPrefix(text, "controlplane: invalid Config: ")) || strings.Count(text, "--") != 2 {
					t.Errorf("Config.%s is set by a flag, and errors about it do not name one: %s", name, text)
				}
			}
		}
	}
	check("", reflect.ValueOf(cfg))
	text := "Hosts of a cluster. Encryption is off"
	if err := inFlags(errors.New(text)); err.Error() != text {
		t.Errorf("a word became a flag: %v", err)
	}
}

func TestHelpAndVersionAreOutput(t *testing.T) {
	for arg, want := range map[string]string{
		"-h": "--insecure-bind-address IP[:port]", "--help": "-v, --v level", "-help": "--config file",
		"--version": "Kubernetes " + apiserver.KubernetesVersion,
	} {
		stdout, stderr := newOutput(""), newOutput("")
		if err := run(t.Context(), []string{arg}, stdout, stderr); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(stdout.String(), want) || stderr.String() != "" {
			t.Errorf("%s: stdout:\n%s\nstderr:\n%s", arg, stdout, stderr)
		}
	}
}

func TestFlagsAreWrittenInManyWays(t *testing.T) {
	for _, test := range []struct {
		args []string
		want func(options) bool
	}{
		{[]string{"-data-dir", "x", "-scheduler"}, func(o options) bool { return o.dataDir == "x" && o.scheduler }},
		{[]string{"--data-dir", "-v", "--scheduler=false"}, func(o options) bool { return o.dataDir == "-v" && !o.scheduler && o.verbosity == 0 }},
		{[]string{"-v"}, func(o options) bool { return o.verbosity == 1 }},
		{[]string{"--v", "--scheduler"}, func(o options) bool { return o.verbosity == 1 && o.scheduler }},
		{[]string{"-v", "4"}, func(o options) bool { return o.verbosity == 4 }},
		{[]string{"-v4"}, func(o options) bool { return o.verbosity == 4 }},
		{[]string{"--v=2"}, func(o options) bool { return o.verbosity == 2 }},
		{[]string{"--join-lifetime=1d"}, func(o options) bool { return o.joinLifetime == 24*time.Hour }},
		{[]string{"--join-lifetime=1d12h30m"}, func(o options) bool { return o.joinLifetime == 36*time.Hour+30*time.Minute }},
		{[]string{"--demo"}, func(o options) bool { return o.scheduler && o.controllers && o.simulatedNodes == demoNodes }},
		{[]string{"--demo", "--simulated-nodes=7"}, func(o options) bool { return o.simulatedNodes == 7 }},
	} {
		opts, err := parse(test.args)
		if err != nil || !test.want(opts) {
			t.Errorf("%q: %v: %+v", test.args, err, opts)
		}
	}
	for _, bad := range []string{"1d-1h", "d", "1", "1dd", "99999999999999999999d", "200000d", "106751d25h1000h", "", "1d1"} {
		if d, err := parseDuration(bad); err == nil {
			t.Errorf("%q is %v", bad, d)
		}
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
