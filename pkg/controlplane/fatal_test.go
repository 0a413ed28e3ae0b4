package controlplane_test

import (
	"math"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestValuesThatUpstreamEndsTheProcessFor: each is refused by Validate, with the field
// and a way out. Upstream ends the process or panics for some of them, starts with others
// and never gets ready, and gives Services addresses of the rest that nobody can connect
// to.
func TestValuesThatUpstreamEndsTheProcessFor(t *testing.T) {
	const usable = "10.0.0.0/24"
	ranges := map[string]string{
		"0.0.0.0/0": usable, "0.0.0.0/1": usable, "128.0.0.0/1": usable, "64.0.0.0/2": usable, "192.0.0.0/2": usable,
		"0.0.0.0/8": "unspecified", "127.0.0.0/8": "loopback", "127.0.0.1/29": "loopback", "169.254.0.0/24": "link-local",
		"224.0.0.0/8": "multicast", "255.255.255.0/24": "broadcast", "10.0.0.0/30": "8 addresses", "10.0.0.0/33": usable,
		"::/0": "/64 or smaller", "8000::/1": "/64 or smaller", "fd00::/63": "/64 or smaller",
		"::/64": "loopback", "::/112": "loopback", "fe80::/112": "link-local", "ff00::/112": "multicast",
		"::ffff:10.0.0.0/120": "IPv4-mapped", "::ffff:0:0/96": "IPv4-mapped", "fd00::/126": "8 addresses",
	}
	for value, want := range ranges {
		wantInvalid(t, controlplane.Config{ServiceCIDR: value}, "ServiceCIDR: ", want)
	}
	for value, want := range map[string]string{
		"v1": `leave "v1" on`, "v1/secrets": `leave "v1" on`, "api/v1": `leave "v1" on`, "api/ga": `leave "v1" on`,
		"flowcontrol.apiserver.k8s.io/v1/flowschemas":                 "both of them",
		"flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations": "both of them",
	} {
		wantInvalid(t, controlplane.Config{RuntimeConfig: map[string]string{value: "false"}}, "RuntimeConfig: ", want)
	}
	for _, plugin := range []string{"EventRateLimit", "ImagePolicyWebhook"} {
		wantInvalid(t, controlplane.Config{EnableAdmissionPlugins: []string{plugin}}, "EnableAdmissionPlugins[0]: ", "leave it out")
	}
	wantInvalid(t, controlplane.Config{BindAddress: "224.0.0.1:0"}, "BindAddress: ", "address of this machine")
	wantInvalid(t, controlplane.Config{AdvertiseAddress: "fe80::1%eth0"}, "AdvertiseAddress: ", "workers can connect to")
}

func wantInvalid(t *testing.T, cfg controlplane.Config, want ...string) {
	t.Helper()
	err := cfg.Validate()
	if err == nil {
		t.Errorf("%+v is valid, want %q", cfg, want)
	} else if missing := lacks(err.Error(), want...); missing != "" {
		t.Errorf("%q is not in the error: %v", missing, err)
	}
	if _, started := controlplane.Start(t.Context(), cfg); started == nil || started.Error() != err.Error() {
		t.Errorf("Start says %v, and Validate %v", started, err)
	}
}

// TestExtremeValues: what is valid starts, and gives a Service an address.
func TestExtremeValues(t *testing.T) {
	for name, cfg := range map[string]controlplane.Config{
		"large range":   {ServiceCIDR: "32.0.0.0/3"},
		"small range":   {ServiceCIDR: "10.0.0.0/29"},
		"host bits":     {ServiceCIDR: "10.0.0.5/24"},
		"IPv6":          {ServiceCIDR: "fd00::/64"},
		"small IPv6":    {ServiceCIDR: "fd00::/125"},
		"many requests": {MaxRequestsInFlight: math.MaxInt, MaxMutatingRequestsInFlight: math.MaxInt},
		"durations":     {RequestTimeout: math.MaxInt64, EventTTL: math.MaxInt64},
		"short events":  {EventTTL: time.Nanosecond},
		"few resources": {RuntimeConfig: map[string]string{
			"flowcontrol.apiserver.k8s.io/v1": "false", "v1/podtemplates": "false", "v1/nodes": "false", "v1/configmaps": "false",
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			client := admin(t, start(t, cfg))
			service, err := client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
			}, metav1.CreateOptions{})
			if err != nil || net.ParseIP(service.Spec.ClusterIP) == nil {
				t.Errorf("%v, %v", service, err)
			}
		})
	}
}
