// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

const secondaryCIDR = "fd00:10:96::/112"

// restart stops the server of the plane, if it has one, and starts one with cfg.
func (p *plane) restart(t testing.TB, cfg apiserver.Config) error {
	t.Helper()
	if p.Server != nil {
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.Server = nil
	}
	_ = cfg.Listener.Close() // the first one is not used
	cfg.Listener = must(net.Listen("tcp", "127.0.0.1:0"))(t)
	server, err := apiserver.New(cfg)
	if err != nil {
		return errors.Join(err, ignoreClosed(cfg.Listener.Close()))
	}
	if err := server.Start(t.Context()); err != nil {
		return err
	}
	p.use(server)
	return nil
}

func (p *plane) dualStackService(t testing.TB, name string) ([]string, error) {
	t.Helper()
	policy := corev1.IPFamilyPolicyRequireDualStack
	created, err := p.admin().CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	return created.Spec.ClusterIPs, err
}

func wantInRanges(t testing.TB, ips []string, ranges ...string) {
	t.Helper()
	if len(ips) != len(ranges) {
		t.Fatalf("got addresses %q, want one of each of %q", ips, ranges)
	}
	for i, ip := range ips {
		if !cidr(t, ranges[i]).Contains(net.ParseIP(ip)) {
			t.Errorf("got address %s, want one of %s", ip, ranges[i])
		}
	}
}

// TestDualStack: a Service gets an address of each range as soon as the server is ready,
// and the kubernetes Service one of the first range.
func TestDualStack(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.Network.SecondaryServiceCIDR = secondaryCIDR })
	ips, err := p.dualStackService(t, "dual")
	if err != nil {
		t.Fatal(err)
	}
	wantInRanges(t, ips, "10.0.0.0/24", secondaryCIDR)
	stored := must(p.admin().NetworkingV1().ServiceCIDRs().Get(t.Context(), "kubernetes", metav1.GetOptions{}))(t)
	if want := []string{"10.0.0.0/24", secondaryCIDR}; !slices.Equal(stored.Spec.CIDRs, want) {
		t.Errorf("default ServiceCIDR: got %q, want %q", stored.Spec.CIDRs, want)
	}
	testwait.Until(t, "the kubernetes Service", func(context.Context) error {
		s, err := p.admin().CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
		if err == nil && !slices.Equal(s.Spec.ClusterIPs, []string{"10.0.0.1"}) {
			t.Fatalf("kubernetes Service: got addresses %q, want 10.0.0.1", s.Spec.ClusterIPs)
		}
		return err
	})
}

// TestSecondRangeLater: a second range can be added to stored data, as with
// kube-apiserver. After that it must stay.
func TestSecondRangeLater(t *testing.T) {
	p, cfg := parts(t)
	restart := func(cidr string) error {
		cfg.Network.SecondaryServiceCIDR = cidr
		return p.restart(t, cfg)
	}
	if err := restart(""); err != nil {
		t.Fatal(err)
	}
	if _, err := p.dualStackService(t, "early"); err == nil {
		t.Error("a Service of a single range has two addresses")
	}
	if err := restart(secondaryCIDR); err != nil {
		t.Fatal(err)
	}
	ips, err := p.dualStackService(t, "later")
	if err != nil {
		t.Fatal(err)
	}
	wantInRanges(t, ips, "10.0.0.0/24", secondaryCIDR)
	for _, cidr := range []string{"", "fd00:10:97::/112"} {
		err := restart(cidr)
		if !contains(err, "Config.Network.SecondaryServiceCIDR: ") || !contains(err, secondaryCIDR) {
			t.Errorf("start with second range %q: got %v, want an error with the stored one", cidr, err)
		}
	}
	if err := restart(secondaryCIDR); err != nil {
		t.Errorf("start with the stored second range: %v", err)
	}
}

// TestNodePortRange: the range applies to new Services. A start with another range keeps
// the ports of existing ones.
func TestNodePortRange(t *testing.T) {
	ports := "31000-31099"
	p, cfg := parts(t)
	ctx := t.Context()
	cfg.Network.ServiceNodePortRange = ports
	if err := p.restart(t, cfg); err != nil {
		t.Fatal(err)
	}
	create := func(name string, port int32) (int32, error) {
		created, err := p.admin().CoreV1().Services("default").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: port}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return 0, err
		}
		return created.Spec.Ports[0].NodePort, nil
	}
	if got := must(create("first", 0))(t); got < 31000 || got > 31099 {
		t.Errorf("got port %d, want one of %s", got, ports)
	}
	_, err := create("outside", 30500)
	wantRefused(t, err, "31000-31099")

	cfg.Network.ServiceNodePortRange = "32000-32099"
	if err := p.restart(t, cfg); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "a port of the new range", func(context.Context) error {
		got, err := create("second", 0)
		if err == nil && (got < 32000 || got > 32099) {
			t.Fatalf("got port %d, want one of the new range", got)
		}
		return err
	})
	if kept := must(p.admin().CoreV1().Services("default").Get(ctx, "first", metav1.GetOptions{}))(t).Spec.Ports[0].NodePort; kept > 31099 {
		t.Errorf("the existing Service got port %d", kept)
	}
}

// TestExternalHost: clients get the host in discovery and as the place of token keys.
func TestExternalHost(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.Network.ExternalHost = "api.example.com:8443" })
	if body := p.get(t, "/api", "Accept: application/json").want(t, 200).body; !strings.Contains(body, `"serverAddress":"api.example.com:8443"`) {
		t.Errorf("/api: %s", body)
	}
	var document struct {
		KeysURI string `json:"jwks_uri"`
	}
	body := p.get(t, "/.well-known/openid-configuration").want(t, 200).body
	if err := json.Unmarshal([]byte(body), &document); err != nil || document.KeysURI != "https://api.example.com:8443/openid/v1/jwks" {
		t.Errorf("OpenID configuration: %v in %s", err, body)
	}
}

// TestKubernetesServicePorts: the Service and its endpoints get further ports, also when
// they exist.
func TestKubernetesServicePorts(t *testing.T) {
	p, cfg := parts(t)
	cfg.AdvertiseAddress = net.ParseIP("192.0.2.10")
	if err := p.restart(t, cfg); err != nil {
		t.Fatal(err)
	}
	wantPorts(t, p, "https:443", "https")
	cfg.Network.KubernetesServicePorts = []corev1.ServicePort{
		{Name: "tunnel", Port: 8132, TargetPort: intstr.FromInt32(18132)}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
	}
	if err := p.restart(t, cfg); err != nil {
		t.Fatal(err)
	}
	wantPorts(t, p, "https:443 tunnel:8132 dns:53", "dns:53", "tunnel:18132")
	cfg.Network.KubernetesServicePorts[0].Name = "konnectivity"
	if err := p.restart(t, cfg); err != nil {
		t.Fatal(err)
	}
	wantPorts(t, p, "https:443 konnectivity:8132 dns:53", "dns:53", "konnectivity:18132")
}

// wantPorts waits for the ports of the kubernetes Service and of its endpoints.
func wantPorts(t *testing.T, p *plane, service string, endpoints ...string) {
	t.Helper()
	ctx := t.Context()
	testwait.Until(t, "the ports of the kubernetes Service", func(context.Context) error {
		got, err := p.admin().CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			return err
		}
		var ports []string
		for _, port := range got.Spec.Ports {
			ports = append(ports, fmt.Sprintf("%s:%d", port.Name, port.Port))
		}
		if text := strings.Join(ports, " "); text != service {
			return fmt.Errorf("got ports %s, want %s", text, service)
		}
		slice, err := p.admin().DiscoveryV1().EndpointSlices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			return err
		}
		var text []string
		for _, port := range slice.Ports {
			text = append(text, fmt.Sprintf("%s:%d", *port.Name, *port.Port))
		}
		for _, want := range endpoints {
			if !slices.ContainsFunc(text, func(port string) bool { return strings.HasPrefix(port, want) }) {
				return fmt.Errorf("got endpoints %q, want %s", text, want)
			}
		}
		return nil
	})
}

// TestDisableEndpoints: the kubernetes Service exists, and the host writes its endpoints.
func TestDisableEndpoints(t *testing.T) {
	p, cfg := parts(t)
	ctx := t.Context()
	cfg.AdvertiseAddress = net.ParseIP("2001:db8::1") // of another family than the Service
	cfg.Network.DisableEndpoints = true
	if err := p.restart(t, cfg); err != nil {
		t.Fatal(err)
	}
	client := p.admin().CoreV1()
	testwait.Until(t, "the kubernetes Service", func(context.Context) error {
		_, err := client.Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
		return err
	})
	//nolint:staticcheck // deprecated, but upstream's reconciler writes it
	own := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "198.51.100.7"}}}},
	}
	if _, err := client.Endpoints("default").Create(ctx, own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The shutdown hook of a server removes the addresses that it has written.
	if err := p.restart(t, cfg); err != nil {
		t.Fatal(err)
	}
	kept := must(p.admin().CoreV1().Endpoints("default").Get(ctx, "kubernetes", metav1.GetOptions{}))(t)
	if len(kept.Subsets) != 1 || kept.Subsets[0].Addresses[0].IP != "198.51.100.7" {
		t.Errorf("endpoints after a restart: got %+v, want the host's", kept.Subsets)
	}
}

func TestInvalidNetwork(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		network apiserver.Network
		want    []string
	}{
		"second range":    {apiserver.Network{SecondaryServiceCIDR: "fd00::"}, []string{"Network.SecondaryServiceCIDR: ", "fd00::/108"}},
		"same family":     {apiserver.Network{SecondaryServiceCIDR: "10.1.0.0/24"}, []string{"Network.SecondaryServiceCIDR: ", "other IP family than ServiceCIDR, which is 10.0.0.0/24"}},
		"overlap":         {apiserver.Network{SecondaryServiceCIDR: "10.0.0.0/16"}, []string{"Network.SecondaryServiceCIDR: ", "other IP family"}},
		"too small":       {apiserver.Network{SecondaryServiceCIDR: "fd00::/126"}, []string{"Network.SecondaryServiceCIDR: ", "at least 8 addresses"}},
		"too large":       {apiserver.Network{SecondaryServiceCIDR: "fd00::/48"}, []string{"Network.SecondaryServiceCIDR: ", "/64 or smaller"}},
		"mapped":          {apiserver.Network{SecondaryServiceCIDR: "::ffff:10.1.0.0/120"}, []string{"Network.SecondaryServiceCIDR: "}},
		"ports":           {apiserver.Network{ServiceNodePortRange: "many"}, []string{"Network.ServiceNodePortRange: ", "30000-32767"}},
		"ports backwards": {apiserver.Network{ServiceNodePortRange: "32000-31000"}, []string{"Network.ServiceNodePortRange: "}},
		"ports too high":  {apiserver.Network{ServiceNodePortRange: "60000-70000"}, []string{"Network.ServiceNodePortRange: "}},
		"port zero":       {apiserver.Network{ServiceNodePortRange: "0-100"}, []string{"Network.ServiceNodePortRange: ", "port 1 or higher"}},
		"external host":   {apiserver.Network{ExternalHost: "https://api.example.com"}, []string{"Network.ExternalHost: ", "api.example.com:6443"}},
		"external port":   {apiserver.Network{ExternalHost: "api.example.com:https"}, []string{"Network.ExternalHost: "}},
		"service ports": {
			apiserver.Network{KubernetesServicePorts: []corev1.ServicePort{
				{Port: 1}, {Name: "https", Port: 2}, {Name: "a", Port: 443}, {Name: "b", Port: 70000},
				{Name: "c", Port: 3, TargetPort: intstr.FromString("name")}, {Name: "d", Port: 4, NodePort: 30000}, {Name: "e", Port: 5, Protocol: "HTTP"},
			}},
			[]string{"[0].Name: ", "[1].Name: Duplicate", "[2].Port: Duplicate", "[3].Port: ", "[4].TargetPort: ", "[5].NodePort: ", "[6].Protocol: "},
		},
	} {
		err := apiserver.Config{Network: test.network}.Validate()
		for _, want := range test.want {
			if !contains(err, want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
	valid := apiserver.Network{
		SecondaryServiceCIDR: "fd00::/112", ServiceNodePortRange: "1024-65535", ExternalHost: "2001:db8::1",
		KubernetesServicePorts: []corev1.ServicePort{{Name: "dns", Port: 443, Protocol: corev1.ProtocolUDP}},
	}
	if err := (apiserver.Config{Network: valid}).Validate(); contains(err, "Network") {
		t.Errorf("valid settings: %v", err)
	}
}
