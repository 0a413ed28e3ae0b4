// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	genericfeatures "k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/server/healthz"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

func cidr(t testing.TB, s string) *net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestValidateNamesEveryField: Validate returns all errors at once, each with the name of
// the Go field.
func TestValidateNamesEveryField(t *testing.T) {
	err := apiserver.Config{
		ServiceCIDR:                 cidr(t, "10.0.0.0/30"),
		RuntimeConfig:               map[string]string{"apps/v1": "maybe"},
		EnableAdmissionPlugins:      []string{"Unknown"},
		DisableAdmissionPlugins:     []string{"Unknown"},
		MaxRequestsInFlight:         -1,
		MaxMutatingRequestsInFlight: -1,
		RequestTimeout:              -time.Second,
		EventTTL:                    -time.Second,
		Authorization:               apiserver.Authorization{Modes: []string{"RBAC", "Webhook", "RBAC"}},
		Reserved:                    []string{"a.example.com.", "192.0.2.1:443", ""},
		PrivateEndpoints:            []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0"), {}},
		Audit:                       apiserver.Audit{PolicyFile: "policy.yaml", Log: apiserver.AuditLog{MaxSizeMB: -1, MaxBackups: -1}},
	}.Validate()
	if err == nil {
		t.Fatal("got no error for a Config with errors in every field")
	}
	for _, field := range []string{
		"Listener:", "Client:", "PKI:", "Dir:", "ServiceCIDR:", "RuntimeConfig[apps/v1]:", "EnableAdmissionPlugins[0]:",
		"DisableAdmissionPlugins[0]:", "DisableAdmissionPlugins:", "MaxRequestsInFlight:", "MaxMutatingRequestsInFlight:",
		"RequestTimeout:", "EventTTL:", "Authorization.Modes[1]:", "Authorization.Modes[2]:", "Audit.Log.Path:", "Audit.Log.MaxSizeMB:", "Audit.Log.MaxBackups:",
		"Reserved[1]:", "Reserved[2]:", "PrivateEndpoints[0]:", "PrivateEndpoints[1]:",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is missing in the error: %v", field, err)
		}
	}
	if strings.Contains(err.Error(), "Reserved[0]") {
		t.Errorf("a name with a trailing dot: got error %v, want none", err)
	}
	if strings.Contains(err.Error(), "--") {
		t.Errorf("got error %v, want none about a flag", err)
	}
	if _, newErr := apiserver.New(apiserver.Config{}); newErr == nil || !strings.HasPrefix(newErr.Error(), "apiserver: invalid Config: ") {
		t.Errorf("New: got error %v, want an invalid Config", newErr)
	}
}

func TestValidateOptional(t *testing.T) {
	for _, test := range []struct {
		config apiserver.Config
		want   string // "" for valid
	}{
		{apiserver.Config{}, ""},
		{apiserver.Config{ServiceCIDR: cidr(t, "10.0.0.0/29")}, ""},
		{apiserver.Config{ServiceCIDR: cidr(t, "fd00::/112")}, ""},
		{apiserver.Config{ServiceCIDR: cidr(t, "fd00::/48")}, "/64 or smaller"},
		{apiserver.Config{RuntimeConfig: map[string]string{"api/all": "false", "v1": "true"}}, ""},
		{apiserver.Config{RuntimeConfig: map[string]string{"apps/v1/deployments": "false"}}, ""},
		{apiserver.Config{RuntimeConfig: map[string]string{"unknown.example.com/v1": "true"}}, "RuntimeConfig"},
		{apiserver.Config{RuntimeConfig: map[string]string{"api/all": "false"}}, "RuntimeConfig"},
		{apiserver.Config{EnableAdmissionPlugins: []string{"AlwaysPullImages"}, DisableAdmissionPlugins: []string{"LimitRanger"}}, ""},
		{apiserver.Config{EnableAdmissionPlugins: []string{"LimitRanger"}, DisableAdmissionPlugins: []string{"LimitRanger"}}, "also in EnableAdmissionPlugins"},
	} {
		err := access.ValidateOptional(test.config).ToAggregate()
		if test.want == "" && err != nil || test.want != "" && !contains(err, test.want) {
			t.Errorf("%+v: %v, want %q", test.config, err, test.want)
		}
	}
}

// TestValidateDir: a directory that files cannot be written to.
func TestValidateDir(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{file: "must be a directory", filepath.Join(file, "dir"): "must be an existing directory: ", filepath.Dir(file): ""} {
		err := apiserver.Config{Dir: dir}.Validate()
		if named := strings.Contains(err.Error(), " Dir: Invalid value"); named != (want != "") || !contains(err, want) {
			t.Errorf("%s: got %v, want %q", dir, err, want)
		}
	}
}

type check struct{ healthz.HealthChecker }

// TestValidateInterfaces: values that would panic when they are called.
func TestValidateInterfaces(t *testing.T) {
	err := apiserver.Config{
		Listener:         (*net.TCPListener)(nil),
		InsecureListener: (*net.TCPListener)(nil),
		TracerProvider:   (*noopProvider)(nil),
		Metrics:          prometheus.GathererFunc(nil),
		Transformers:     transformers(nil),
		ReadyzChecks:     []healthz.HealthChecker{nil, (*check)(nil), check{}, healthz.NamedCheck("", nil), healthz.PingHealthz},
	}.Validate()
	for _, want := range []string{
		"Listener: Required", "InsecureListener: Invalid value: is a nil *net.TCPListener", "TracerProvider: Invalid value: is a nil *apiserver_test.noopProvider",
		"Metrics: Invalid value: is a nil prometheus.GathererFunc", "Transformers: Invalid value: is a nil apiserver_test.transformers",
		"ReadyzChecks[0]: Required", "ReadyzChecks[1]: Required", "ReadyzChecks[2]: Invalid value: Name panicked", "ReadyzChecks[3]: Required",
	} {
		if !contains(err, want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
	if contains(err, "ReadyzChecks[4]") {
		t.Errorf("got %v", err)
	}
	if err := (apiserver.Config{Listener: struct{ net.Listener }{}}).Validate(); !contains(err, `Listener: Invalid value: ":0": must be at an IP address`) {
		t.Errorf("a listener whose Addr panics: got %v", err)
	}
}

type noopProvider struct{ noop.TracerProvider }

// TestGateWithoutItsAPI: with the gate on, upstream waits forever for objects of an API
// that is off by default.
func TestGateWithoutItsAPI(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, genericfeatures.CoordinatedLeaderElection, true)
	if err := access.ValidateOptional(apiserver.Config{}).ToAggregate(); !contains(err, `"coordination.k8s.io/v1beta1": "true"`) {
		t.Error(err)
	}
	served := apiserver.Config{RuntimeConfig: map[string]string{"coordination.k8s.io/v1beta1": "true"}}
	if err := access.ValidateOptional(served).ToAggregate(); err != nil {
		t.Error(err)
	}
}

// TestAddressesThatEndpointsCannotHave: upstream's reconcilers of the kubernetes Service
// would fail every ten seconds.
func TestAddressesThatEndpointsCannotHave(t *testing.T) {
	for ip, valid := range map[string]bool{
		"192.0.2.1": true, "127.0.0.1": true, "2001:db8::1": true,
		"169.254.1.1": false, "fe80::1": false, "0.0.0.0": false, "224.0.0.1": false,
	} {
		errs := access.ValidateOptional(apiserver.Config{AdvertiseAddress: net.ParseIP(ip), ServiceCIDR: cidr(t, "10.0.0.0/24")})
		switch {
		case valid && len(errs) > 0:
			t.Errorf("%s: got errors %v, want none", ip, errs)
		case !valid && (len(errs) != 1 || errs[0].Field != "AdvertiseAddress" || !strings.Contains(errs[0].Detail, "may not be")):
			t.Errorf("%s: got errors %v, want one about AdvertiseAddress", ip, errs)
		}
	}
}
