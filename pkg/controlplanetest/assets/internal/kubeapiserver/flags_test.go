// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	kubeapiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"

	"github.com/kubembed/kubembed/pkg/apiserver"
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

// configure does what the program does with a command line before it listens.
func configure(t *testing.T, args ...string) (*completed, apiserver.Config, error) {
	t.Helper()
	if !strings.Contains(strings.Join(args, " "), "--etcd-servers=") {
		args = append(args, "--etcd-servers=http://127.0.0.1:1")
	}
	f, err := parse(append([]string{"--cert-dir=" + t.TempDir()}, args...))
	if err != nil {
		return nil, apiserver.Config{}, err
	}
	completed, err := f.complete(t.Context(), t.TempDir())
	if err != nil {
		return nil, apiserver.Config{}, err
	}
	config, err := completed.config()
	return completed, config, err
}

// config is configure for command lines that are correct.
func config(t *testing.T, args ...string) apiserver.Config {
	t.Helper()
	_, c, err := configure(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// file writes a file of a flag.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The program has kube-apiserver's flags, with its defaults.
func TestFlagsAreThoseOfKubeAPIServer(t *testing.T) {
	ours := newFlags()
	flags := kubeapiserveroptions.NewServerRunOptions().Flags()
	for _, set := range flags.FlagSets {
		set.VisitAll(func(f *pflag.Flag) {
			own := ours.all.Lookup(f.Name)
			if own == nil {
				t.Errorf("--%s is missing", f.Name)
			} else if own.DefValue != f.DefValue || own.Value.Type() != f.Value.Type() || own.Hidden != f.Hidden {
				t.Errorf("--%s: got %s %q, want %s %q", f.Name, own.Value.Type(), own.DefValue, f.Value.Type(), f.DefValue)
			}
		})
	}
}

func TestFlagsOfEnvtest(t *testing.T) {
	c := config(t, envtestFlags...)
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
	policy := file(t, "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n")
	c := config(t, append(slices.Clone(envtestFlags),
		"--enable-admission-plugins=NodeRestriction,PodNodeSelector", "--disable-admission-plugins=TaintNodesByCondition",
		"--runtime-config=api/beta=true", "--runtime-config=batch/v1=false",
		"--max-requests-inflight=7", "--max-mutating-requests-inflight=8", "--request-timeout=9s", "--event-ttl=10m",
		"--advertise-address=192.0.2.1", "--etcd-prefix=/elsewhere",
		"--audit-log-path=-", "--audit-policy-file="+policy, "--audit-log-maxbackup=3",
		"--watch-cache=false", "--v=2", "--goaway-chance=0", "--kubelet-preferred-address-types=InternalIP", "--profiling=false")...)
	if want := []string{"NodeRestriction", "PodNodeSelector"}; !slices.Equal(c.EnableAdmissionPlugins, want) {
		t.Errorf("enabled %q, want %q", c.EnableAdmissionPlugins, want)
	}
	if c.RuntimeConfig["api/beta"] != "true" || c.RuntimeConfig["batch/v1"] != "false" {
		t.Errorf("RuntimeConfig %v", c.RuntimeConfig)
	}
	if c.MaxRequestsInFlight != 7 || c.MaxMutatingRequestsInFlight != 8 || c.RequestTimeout.String() != "9s" || c.EventTTL.String() != "10m0s" {
		t.Errorf("%+v", c)
	}
	if c.AdvertiseAddress.String() != "192.0.2.1" || c.Prefix != "/elsewhere" || c.Profiling {
		t.Errorf("%+v", c)
	}
	if c.Audit.Log.Path != "/dev/stdout" || c.Audit.PolicyFile != policy || c.Audit.Log.MaxBackups != 0 || c.Audit.Log.MaxSizeMB != 0 { // it cannot be rotated
		t.Errorf("%+v", c.Audit)
	}
}

// The defaults are kube-apiserver's, except the documented ones.
func TestFlagsDefaults(t *testing.T) {
	completed, c, err := configure(t)
	if err != nil {
		t.Fatal(err)
	}
	want := options.NewOptions()
	if c.EventTTL != want.EventTTL || c.MaxRequestsInFlight != want.GenericServerRunOptions.MaxRequestsInFlight || c.RequestTimeout != want.GenericServerRunOptions.RequestTimeout {
		t.Errorf("%+v", c)
	}
	if completed.SecureServing.BindPort != 6443 || !slices.Contains(c.EnableAdmissionPlugins, "ServiceAccount") || !c.Profiling {
		t.Errorf("port %d, plugins %q", completed.SecureServing.BindPort, c.EnableAdmissionPlugins)
	}
	// Everybody may do everything, but must say who he is.
	if !slices.Equal(c.Authorization.Modes, []string{"AlwaysAllow"}) || completed.Authentication.Anonymous.Allow {
		t.Errorf("modes %q, anonymous %t", c.Authorization.Modes, completed.Authentication.Anonymous.Allow)
	}
	// A log without a policy has no events.
	if c := config(t, "--audit-log-path=/nowhere/audit.log"); c.Audit.Log.Path != "" {
		t.Errorf("%+v", c.Audit)
	}
}

// --admission-control names all plugins.
func TestFlagAdmissionControl(t *testing.T) {
	c := config(t, "--admission-control=NamespaceLifecycle,LimitRanger")
	if want := []string{"NamespaceLifecycle", "LimitRanger"}; !slices.Equal(c.EnableAdmissionPlugins, want) {
		t.Errorf("enabled %q, want %q", c.EnableAdmissionPlugins, want)
	}
	for _, plugin := range []string{"NodeRestriction", "ServiceAccount", "MutatingAdmissionWebhook"} {
		if !slices.Contains(c.DisableAdmissionPlugins, plugin) {
			t.Errorf("%s is not in %q", plugin, c.DisableAdmissionPlugins)
		}
	}
}

// The self-signed certificate is in --cert-dir, and the next start serves with it.
func TestFlagCertDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certificates")
	var before []byte
	for range 2 {
		completed, _, err := configure(t, "--cert-dir="+dir, "--bind-address=127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		identities, err := completed.identities(filepath.Join(t.TempDir(), "pki"))
		if err != nil {
			t.Fatal(err)
		}
		cert, err := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
		if err != nil {
			t.Fatal(err)
		}
		if string(identities.Serving().Cert) != string(cert) {
			t.Error("the program serves with another certificate")
		}
		if before != nil && string(before) != string(cert) {
			t.Error("the second start has written another certificate")
		}
		before = cert
	}
	if info, err := os.Stat(filepath.Join(dir, "apiserver.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestFlagsThatAreRefused(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	f := newFiles(t)
	for _, test := range []struct{ flag, want string }{
		{"--no-such-flag", "unknown flag: --no-such-flag"},
		{"word", `"word"`},
		{"--etcd-servers=", "--etcd-servers must be specified"},
		{"--etcd-servers=127.0.0.1:1", "--etcd-servers[0]"},
		{"--etcd-cafile=" + missing, "--etcd-cafile"},
		{"--authorization-mode=Nonsense", `authorization-mode "Nonsense" is not a valid mode`},
		{"--authorization-mode=ABAC", "authorization-mode ABAC's authorization policy file not passed"},
		{"--authorization-mode=Webhook", "authorization-mode Webhook's authorization config file not passed"},
		{"--enable-admission-plugins=Nonsense", `enable-admission-plugins plugin "Nonsense" is unknown`},
		{"--runtime-config=apps/v1=maybe", "--runtime-config[apps/v1]"},
		{"--service-cluster-ip-range=10.0.0.0/24,10.1.0.0/24", "--service-cluster-ip-range"},
		{"--service-cluster-ip-range=10.0.0.0", "--service-cluster-ip-range"},
		{"--service-cluster-ip-range=10.0.0.0/30", "--service-cluster-ip-range"},
		{"--max-requests-inflight=-1", "--max-requests-inflight"},
		{"--enable-admission-plugins=LimitRanger --disable-admission-plugins=LimitRanger", "[LimitRanger] in enable-admission-plugins and disable-admission-plugins overlapped"},
		{"--runtime-config=api/all=false", "invalid runtime-config with only api/all=false"},
		{"--endpoint-reconciler-type=master-count", "--endpoint-reconciler-type=master-count is not supported"},
		{"--peer-ca-file=" + missing, "--peer-ca-file=" + missing + " is not supported: servers do not forward"},
		{"--service-account-lookup=false", "--service-account-lookup=false is not supported"},
		{"--max-requests-inflight=0", "--max-requests-inflight=0 is not supported: there is always a limit"},
		{"--max-mutating-requests-inflight=0", "--max-mutating-requests-inflight=0 is not supported: there is always a limit"},
		{"--event-ttl=0", "--event-ttl=0s is not supported: Events always expire"},
		{"--min-request-timeout=0", "--min-request-timeout=0 is not supported: watches always end"},
		{"--request-timeout=0", "--request-timeout=0s is not supported"},
		{"--encryption-provider-config-automatic-reload", "--encryption-provider-config"},
		{"--proxy-client-cert-file=" + missing, "--proxy-client-cert-file"},
		{"--client-ca-file=" + missing, "--client-ca-file: open " + missing},
		{"--authentication-config=" + missing, missing},
		{"--token-auth-file=" + missing, "--token-auth-file"},
		{"--egress-selector-config-file=" + missing, "--egress-selector-config-file"},
		{"--oidc-issuer-url=https://issuer.example.com", "oidc-client-id"},
		{"--enable-admission-plugins=EventRateLimit", "does not work without a configuration: add one to --admission-control-config-file, or leave it out"},
		{"--tls-sni-cert-key=" + f.cert + "," + f.key + ":*", `--tls-sni-cert-key[0]: Invalid value: "*": matches names of one label only, like localhost: write "*.example.com" for the names in example.com, or set --tls-cert-file`},
		{"--tls-cert-file=" + f.key + " --tls-private-key-file=" + f.cert, "--tls-cert-file: Invalid value: "},
		{"--tls-cert-file=" + f.cert + " --tls-private-key-file=" + f.authn, "--tls-"},
	} {
		if _, _, err := configure(t, strings.Fields(test.flag)...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.flag, err, test.want)
		}
	}
	// Flags with the supported value are accepted.
	config(t, "--service-account-lookup=true", "--storage-backend=etcd3", "--endpoint-reconciler-type=lease")
}

// A flag that upstream has dropped must not stay in the table, and each has a reason.
func TestRefusedFlagsExist(t *testing.T) {
	f := newFlags()
	for name, refusal := range refused {
		flag := f.all.Lookup(name)
		if flag == nil {
			t.Errorf("--%s is not a flag", name)
		} else if flag.DefValue != refusal.accepted || refusal.reason == "" {
			t.Errorf("--%s: its default is %q, and %q is accepted", name, flag.DefValue, refusal.accepted)
		}
	}
	for name := range notZero {
		if flag := f.all.Lookup(name); flag == nil || flag.DefValue == "0" || flag.DefValue == "0s" {
			t.Errorf("--%s: got %v, want a flag whose default is not zero", name, flag)
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
