// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
)

func TestValidate(t *testing.T) {
	for address, valid := range map[string]bool{
		"10.0.0.1":    true,
		"fd00::1":     true,
		"127.0.0.1":   false,
		"::1":         false,
		"0.0.0.0":     false,
		"169.254.1.1": false, // link-local
		"224.0.0.1":   false,
	} {
		if err := Validate(net.ParseIP(address)); (err == nil) != valid {
			t.Errorf("%s: got %v, want valid: %v", address, err, valid)
		}
	}
	if Validate(nil) == nil {
		t.Error("no address is valid")
	}
}

// TestMachineAddress: only a server that advertises a loopback address gets another one,
// and only of the family of Services.
func TestMachineAddress(t *testing.T) {
	_, services4, _ := net.ParseCIDR("10.0.0.0/24")
	_, services6, _ := net.ParseCIDR("fd00::/112")
	if ip := MachineAddress(net.ParseIP("10.0.0.1"), services4); ip != nil {
		t.Errorf("a server with an address of its own: got %s", ip)
	}
	for _, services := range []*net.IPNet{services4, services6} {
		for _, loopback := range []string{"127.0.0.1", "::1"} {
			ip := MachineAddress(net.ParseIP(loopback), services)
			if ip == nil {
				continue // this machine has none
			}
			if err := Validate(ip); err != nil || (ip.To4() == nil) != (services.IP.To4() == nil) {
				t.Errorf("%s for Services in %s: got %s, %v", loopback, services, ip, err)
			}
		}
	}
}

const service = "kubernetes"

var (
	ip    = net.ParseIP("10.0.0.1")
	ports = []corev1.EndpointPort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}}
)

// reconciler is NewReconciler over stored objects.
func reconciler(t *testing.T, objects ...runtime.Object) (*quietReconciler, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset(objects...)
	adapter := reconcilers.NewEndpointsAdapter(client.CoreV1(), client.DiscoveryV1())
	return &quietReconciler{
		EndpointReconciler: reconcilers.NewMasterCountEndpointReconciler(1, adapter),
		ctx:                t.Context(),
		endpoints:          client.CoreV1().Endpoints(metav1.NamespaceDefault),
		adapter:            &adapter,
	}, client
}

//nolint:staticcheck // deprecated, but upstream's reconciler writes it
func stored(addresses ...string) *corev1.Endpoints {
	endpoints := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{
		Namespace: metav1.NamespaceDefault, Name: service,
		Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
	}}
	for _, address := range addresses {
		endpoints.Subsets = append(endpoints.Subsets, corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{{IP: address}}, Ports: ports})
	}
	return endpoints
}

// addresses returns the stored addresses.
func addresses(t *testing.T, client *fake.Clientset) (found []string) {
	t.Helper()
	endpoints, err := client.CoreV1().Endpoints(metav1.NamespaceDefault).Get(t.Context(), service, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, subset := range endpoints.Subsets {
		for _, address := range subset.Addresses {
			found = append(found, address.IP)
		}
	}
	return found
}

// TestReconcile: a start writes its address, whatever an earlier server has left. The
// endpoints that an orderly stop leaves cause no warning.
func TestReconcile(t *testing.T) {
	defer klog.CaptureState().Restore()
	var logged bytes.Buffer
	klog.LogToStderr(false)
	klog.SetOutput(&logged)
	for name, before := range map[string][]runtime.Object{
		"nothing":         nil,
		"no address":      {stored()},
		"this address":    {stored("10.0.0.1")},
		"another address": {stored("10.0.0.2")},
	} {
		r, client := reconciler(t, before...)
		logged.Reset()
		for range 2 {
			if err := r.ReconcileEndpoints(service, ip, ports, true); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := addresses(t, client); !slices.Equal(got, []string{"10.0.0.1"}) {
				t.Errorf("%s: got %q, want the address of this server", name, got)
			}
		}
		klog.Flush()
		if name == "no address" && logged.Len() > 0 {
			t.Errorf("%s: logged %s", name, &logged)
		}
	}
}

// TestPortsThatTheServiceCannotHave: its endpoints are right nevertheless, and the log
// names the field once.
func TestPortsThatTheServiceCannotHave(t *testing.T) {
	next, client := reconciler(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: service}})
	refused := errors.New("refused")
	client.PrependReactor("update", "services", func(clientgotesting.Action) (bool, runtime.Object, error) { return refused != nil, nil, refused })
	core, logs := observer.New(zap.InfoLevel)
	r := WithPorts(t.Context(), next, client.CoreV1().Services(metav1.NamespaceDefault), []corev1.ServicePort{{Name: "more", Port: 9345}}, zap.New(core))
	reconcile := func(want ...string) {
		t.Helper()
		for range 2 {
			if err := r.ReconcileEndpoints(service, ip, ports, true); err != nil {
				t.Error(err)
			}
		}
		var got []string
		for _, entry := range logs.FilterField(zap.String("field", "Config.Network.KubernetesServicePorts")).All() {
			got = append(got, entry.Message)
		}
		if !slices.Equal(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
	reconcile("the kubernetes Service cannot have its further ports")
	if got := addresses(t, client); !slices.Equal(got, []string{ip.String()}) {
		t.Errorf("got %q, want the address of this server", got)
	}
	refused = nil
	logs.TakeAll()
	reconcile("the kubernetes Service has its further ports again")
}

// TestRemove: before a stop, RemoveEndpoints always reports that there were none, and
// writes only if there are. A stop removes the address.
func TestRemove(t *testing.T) {
	for name, c := range map[string]struct {
		before []runtime.Object
		writes bool
	}{
		"nothing":         {nil, false},
		"no address":      {[]runtime.Object{stored()}, false},
		"another address": {[]runtime.Object{stored("10.0.0.2")}, false},
		"this address":    {[]runtime.Object{stored("10.0.0.1")}, true},
	} {
		r, client := reconciler(t, c.before...)
		if err := r.RemoveEndpoints(service, ip, ports); !apistorage.IsNotFound(err) {
			t.Errorf("%s: got %v, want that there are none", name, err)
		}
		writes := false
		for _, action := range client.Actions() {
			writes = writes || action.GetVerb() != "get"
		}
		if writes != c.writes {
			t.Errorf("%s: writes: %v, want %v: %v", name, writes, c.writes, client.Actions())
		}
	}

	r, client := reconciler(t, stored("10.0.0.1"))
	r.StopReconciling()
	if err := r.RemoveEndpoints(service, ip, ports); err != nil {
		t.Errorf("at a stop: %v", err)
	}
	if got := addresses(t, client); len(got) > 0 {
		t.Errorf("after a stop: %q", got)
	}
}

func TestNoReconciler(t *testing.T) {
	r := NoReconciler()
	if err := r.RemoveEndpoints(service, ip, ports); !apistorage.IsNotFound(err) {
		t.Errorf("RemoveEndpoints: got %v, want that there are none", err)
	}
	if err := r.ReconcileEndpoints(service, ip, ports, true); err != nil {
		t.Errorf("ReconcileEndpoints: %v", err)
	}
	r.StopReconciling()
	if err := r.RemoveEndpoints(service, ip, ports); err != nil {
		t.Errorf("RemoveEndpoints at a stop: %v", err)
	}
}
