// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestValuesThatUpstreamEndsTheProcessFor: Validate refuses each with the field and a
// remedy. With some of them upstream ends the process or panics, with others it never
// becomes ready, and with the rest Services get unreachable addresses.
func TestValuesThatUpstreamEndsTheProcessFor(t *testing.T) {
	const usable = "10.0.0.0/24"
	ranges := map[string]string{
		"0.0.0.0/0": usable, "0.0.0.0/1": usable, "128.0.0.0/1": usable, "64.0.0.0/2": usable, "192.0.0.0/2": usable,
		"0.0.0.0/8": "unspecified", "127.0.0.0/8": "loopback", "127.0.0.1/29": "loopback", "169.254.0.0/24": "link-local",
		"224.0.0.0/8": "multicast", "255.255.255.0/24": "broadcast", "10.0.0.0/30": "8 addresses", "10.0.0.0/33": usable,
		"::/0": "/64 or smaller", "8000::/1": "/64 or smaller", "fd00::/63": "/64 or smaller",
		"::/64": "loopback", "::/112": "loopback", "fe80::/112": "link-local", "ff00::/112": "multicast",
		"10.0.0.0/24,fd00::/112": "Network.SecondaryServiceCIDR", "::ffff:10.0.0.0/120": "IPv4-mapped", "::ffff:0:0/96": "IPv4-mapped", "fd00::/126": "8 addresses",
	}
	for value, want := range ranges {
		wantInvalid(t, controlplane.Config{ServiceCIDR: value}, "ServiceCIDR: ", want)
	}
	for value, want := range map[string]string{
		"v1": `leave "v1" on`, "v1/secrets": `leave "v1" on`, "api/v1": `leave "v1" on`, "api/ga": `leave "v1" on`,
		"v1/namespaces": "namespaces of v1 cannot be switched off",
		"flowcontrol.apiserver.k8s.io/v1/flowschemas":                 "both of them",
		"flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations": "both of them",
	} {
		wantInvalid(t, controlplane.Config{RuntimeConfig: map[string]string{value: "false"}}, "RuntimeConfig: ", want)
	}
	for _, plugin := range []string{"EventRateLimit", "ImagePolicyWebhook"} {
		wantInvalid(t, controlplane.Config{EnableAdmissionPlugins: []string{plugin}}, "EnableAdmissionPlugins[0]: ", "leave it out")
	}
	wantInvalid(t, controlplane.Config{BindAddress: "224.0.0.1:0"}, "BindAddress: ", "address of this machine")
	wantInvalid(t, controlplane.Config{AdvertiseAddress: "::ffff:0.0.0.0"}, "AdvertiseAddress: ", "workers can connect to")
	wantInvalid(t, controlplane.Config{AdvertiseAddress: "fe80::1%eth0"}, "AdvertiseAddress: ", "workers can connect to")
	// Not allowed in endpoints of the kubernetes Service.
	wantInvalid(t, controlplane.Config{AdvertiseAddress: "169.254.1.1"}, "AdvertiseAddress: ", "link-local")
	wantInvalid(t, controlplane.Config{BindAddress: "169.254.1.1:0"}, "AdvertiseAddress: ", "link-local")
}

func wantInvalid(t *testing.T, cfg controlplane.Config, want ...string) {
	t.Helper()
	err := cfg.Validate()
	if err == nil {
		t.Errorf("%+v is valid, want %q", cfg, want)
	} else if missing := lacks(err.Error(), want...); missing != "" {
		t.Errorf("got error %v, want %q in it", err, missing)
	}
	if _, started := controlplane.Start(t.Context(), cfg); started == nil || started.Error() != err.Error() {
		t.Errorf("Start: got %v, want the error of Validate, %v", started, err)
	}
}

// TestExtremeValues: valid values start, and a Service gets an address.
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
				t.Errorf("service: got %v, %v, want a cluster IP", service, err)
			}
		})
	}
}

// named is a component that calls begin on the goroutine of the start, which asks for its
// name when Validate has.
type named struct {
	asked atomic.Int32
	begin func()
}

func (n *named) Name() string {
	if n.asked.Add(1) == 2 {
		n.begin()
	}
	return "one"
}

func (n *named) Run(ctx context.Context, config *rest.Config, ready func()) error {
	return idle(ctx, config, ready)
}

// TestFatalDuringAStart: an error that ends upstream's process, or a panic, is the error
// of the start, and the start is undone.
func TestFatalDuringAStart(t *testing.T) {
	inGoroutine := make(chan struct{})
	for name, begin := range map[string]func(){
		"klog.Fatal": func() { klog.Fatal("no way on") },
		"klog.Exit":  func() { klog.Exit("no way on") },
		"panic":      func() { panic("no way on") },
		"klog.Fatal in a goroutine": func() {
			go func() {
				defer close(inGoroutine)
				klog.Fatal("no way on")
			}()
			<-inGoroutine
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			_ = wantError(t, controlplane.Config{Components: []controlplane.Component{&named{begin: begin}}}, "controlplane: start: ", "no way on")
		})
	}
	t.Run("klog.Fatal_of_a_component", func(t *testing.T) {
		cfg := parts(&part{name: "bad", run: func(ctx context.Context, _ *rest.Config, _ func()) error {
			go klog.Fatal("no way on")
			<-ctx.Done()
			return nil
		}})
		_ = wantError(t, cfg, "component bad: fatal error of the Kubernetes code: no way on")
	})
}

// TestFatalOfARunningControlPlane: a fatal error stops the control plane, but neither the
// process nor another one.
func TestFatalOfARunningControlPlane(t *testing.T) {
	now := make(chan struct{})
	server := start(t, controlplane.Config{Components: []controlplane.Component{&named{begin: func() {
		go func() {
			<-now
			klog.Fatal("no way on")
		}()
	}}}})
	other := start(t, controlplane.Config{})
	close(now)
	<-server.Done()
	if err := server.Err(); err == nil || !strings.Contains(err.Error(), "fatal error of the Kubernetes code: no way on") {
		t.Errorf("Err: got %v, want fatal error of the Kubernetes code: no way on", err)
	}
	createPod(t, admin(t, other), "first")
}
