// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
)

// envtestFlags are the flags that envtest of controller-runtime v0.24 gives to
// kube-apiserver.
var envtestFlags = []string{
	"--allow-privileged=true",
	"--authorization-mode=RBAC",
	"--bind-address=127.0.0.1",
	"--disable-admission-plugins=ServiceAccount",
	"--etcd-servers=http://127.0.0.1:1",
	"--secure-port=1",
	"--service-account-issuer=https://127.0.0.1:1/",
	"--service-cluster-ip-range=10.0.0.0/24",
}

func TestFlagsOfEnvtest(t *testing.T) {
	f, err := parse(envtestFlags)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.config()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Authorization.Modes, []string{"RBAC"}) || c.ServiceAccounts.Issuers[0] != "https://127.0.0.1:1/" || c.ServiceCIDR.String() != "10.0.0.0/24" {
		t.Errorf("%+v", c)
	}
	// As in kube-apiserver, and unlike a control plane of this library.
	if want := []string{"TaintNodesByCondition"}; !slices.Equal(c.EnableAdmissionPlugins, want) {
		t.Errorf("enabled %q, want %q", c.EnableAdmissionPlugins, want)
	}
	if want := []string{"ServiceAccount", "NodeRestriction"}; !slices.Equal(c.DisableAdmissionPlugins, want) {
		t.Errorf("disabled %q, want %q", c.DisableAdmissionPlugins, want)
	}
	if c.Controllers {
		t.Error("kube-apiserver runs no controllers")
	}
}

// Flags that projects add.
func TestFlagsThatProjectsAdd(t *testing.T) {
	f, err := parse(append(slices.Clone(envtestFlags),
		"--enable-admission-plugins=NodeRestriction,PodNodeSelector", "--disable-admission-plugins=TaintNodesByCondition",
		"--runtime-config=api/beta=true", "--runtime-config=batch/v1=false",
		"--max-requests-inflight=7", "--max-mutating-requests-inflight=8", "--request-timeout=9s", "--event-ttl=10m",
		"--advertise-address=192.0.2.1",
		"--audit-log-path=-", "--audit-policy-file=policy.yaml", "--audit-log-maxbackup=3",
		"--watch-cache=false", "--v=2", "--goaway-chance=0", "--kubelet-preferred-address-types=InternalIP", "--profiling=false"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.config()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"NodeRestriction", "PodNodeSelector"}; !slices.Equal(c.EnableAdmissionPlugins, want) {
		t.Errorf("enabled %q, want %q", c.EnableAdmissionPlugins, want)
	}
	if c.RuntimeConfig["api/beta"] != "true" || c.RuntimeConfig["batch/v1"] != "false" {
		t.Errorf("RuntimeConfig %v", c.RuntimeConfig)
	}
	if c.MaxRequestsInFlight != 7 || c.MaxMutatingRequestsInFlight != 8 || c.RequestTimeout.String() != "9s" || c.EventTTL.String() != "10m0s" {
		t.Errorf("%+v", c)
	}
	if c.AdvertiseAddress.String() != "192.0.2.1" || c.Audit.LogPath != "/dev/stdout" || c.Audit.PolicyFile != "policy.yaml" || c.Audit.MaxBackups != 3 {
		t.Errorf("%+v", c)
	}
}

// The defaults are kube-apiserver's, except the documented ones.
func TestFlagsDefaults(t *testing.T) {
	f, err := parse([]string{"--etcd-servers=http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.config()
	if err != nil {
		t.Fatal(err)
	}
	want := options.NewOptions()
	if c.EventTTL != want.EventTTL || c.MaxRequestsInFlight != want.GenericServerRunOptions.MaxRequestsInFlight || c.RequestTimeout != want.GenericServerRunOptions.RequestTimeout {
		t.Errorf("%+v", c)
	}
	if f.SecureServing.BindPort != 6443 || !slices.Contains(c.EnableAdmissionPlugins, "ServiceAccount") {
		t.Errorf("port %d, plugins %q", f.SecureServing.BindPort, c.EnableAdmissionPlugins)
	}
}

func TestFlagsThatAreRefused(t *testing.T) {
	for _, test := range []struct{ flag, want string }{
		{"--no-such-flag", "unknown flag: --no-such-flag"},
		{"word", `"word"`},
		{"--token-auth-file=tokens.csv", "--token-auth-file=tokens.csv has no effect"},
		{"--etcd-prefix=/elsewhere", "--etcd-prefix=/elsewhere has no effect"},
		{"--oidc-issuer-url=https://example.com", "--oidc-issuer-url"},
		{"--authorization-mode=RBAC,Webhook", "--authorization-mode=Webhook"},
		{"--authorization-mode=Nonsense", "--authorization-mode[0]"},
		{"--enable-admission-plugins=Nonsense", "--enable-admission-plugins[0]"},
		{"--runtime-config=apps/v1=maybe", "--runtime-config[apps/v1]"},
		{"--service-cluster-ip-range=10.0.0.0/24,fd00::/108", "--service-cluster-ip-range"},
		{"--service-cluster-ip-range=10.0.0.0", "--service-cluster-ip-range"},
		{"--api-audiences=somebody", "--api-audiences"},
		{"--max-requests-inflight=-1", "--max-requests-inflight"},
		{"--enable-admission-plugins=LimitRanger --disable-admission-plugins=LimitRanger", "also in --enable-admission-plugins"},
		{"--runtime-config=api/all=false", "invalid --runtime-config with only api/all=false"},
	} {
		f, err := parse(append(strings.Fields(test.flag), "--etcd-servers=http://127.0.0.1:1"))
		if err == nil {
			_, err = f.config()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.flag, err, test.want)
		}
	}
	f, err := parse([]string{"--service-account-issuer=https://one", "--service-account-issuer=https://two"})
	if err == nil {
		_, err = f.config()
	}
	for _, want := range []string{"--service-account-issuer", "--etcd-servers must be set"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	// Flags with the supported value are accepted.
	if _, err := parse([]string{"--etcd-prefix=/registry", "--token-auth-file="}); err != nil {
		t.Error(err)
	}
}

// A flag that upstream has dropped must not stay in the table.
func TestRefusedFlagsExist(t *testing.T) {
	f := newFlags()
	for name, value := range refused {
		flag := f.all.Lookup(name)
		if flag == nil {
			t.Errorf("--%s is not a flag", name)
		} else if flag.DefValue != value {
			t.Errorf("--%s: its default is %q, and %q is accepted", name, flag.DefValue, value)
		}
	}
}

// envtest searches the usage for lines that begin with a flag, and passes the flags
// that it finds.
func TestUsage(t *testing.T) {
	var out strings.Builder
	newFlags().usage(&out)
	if !strings.Contains(out.String(), "\n      --etcd-servers ") {
		t.Errorf("--etcd-servers is missing:\n%s", out.String())
	}
	if strings.Contains(out.String(), "--insecure-port") {
		t.Error("--insecure-port is gone since Kubernetes 1.24")
	}
}
