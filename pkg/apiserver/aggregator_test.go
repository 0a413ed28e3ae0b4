// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/kubembed/kubembed/internal/testwait"
)

// aggregatedRequest is a request that reached an aggregated server.
type aggregatedRequest struct {
	path   string
	header http.Header
	proxy  string // the common name of a client certificate by the front-proxy CA
	cert   *x509.Certificate
}

// aggregated starts an API server with one resource on loopback. Like real servers it
// trusts the identity headers of the front proxy only.
func (p *plane) aggregated(t testing.TB, group string) (*httptest.Server, <-chan aggregatedRequest) {
	t.Helper()
	requests := make(chan aggregatedRequest, 100)
	frontProxy := x509.NewCertPool()
	frontProxy.AppendCertsFromPEM(p.pki.FrontProxyCA().PEM())
	server := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		s := aggregatedRequest{path: r.URL.Path, header: r.Header.Clone()}
		if certs := r.TLS.PeerCertificates; len(certs) > 0 {
			if _, err := certs[0].Verify(x509.VerifyOptions{Roots: frontProxy, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
				s.proxy, s.cert = certs[0].Subject.CommonName, certs[0]
			}
		}
		if s.proxy == "" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		var answer any
		switch r.URL.Path {
		case "/apis/" + group + "/v1":
			answer = metav1.APIResourceList{
				TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
				GroupVersion: group + "/v1",
				APIResources: []metav1.APIResource{{Name: "gadgets", Kind: "Gadget", Verbs: metav1.Verbs{"get", "list"}}},
			}
		case "/apis/" + group + "/v1/gadgets/one":
			requests <- s
			answer = map[string]any{"apiVersion": group + "/v1", "kind": "Gadget", "metadata": map[string]any{"name": "one"}}
		default:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	})
	return server, requests
}

// service creates a Service with one endpoint. It writes the endpoint to etcd: the API
// accepts no loopback addresses.
func (p *plane) service(t testing.TB, namespace string, address net.Addr) {
	t.Helper()
	must(p.admin().CoreV1().Services(namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "api"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(443)}}},
	}, metav1.CreateOptions{}))(t)
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	name, protocol, portNumber, ready := "", corev1.ProtocolTCP, int32(number), true
	slice := must(json.Marshal(&discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{Kind: "EndpointSlice", APIVersion: "discovery.k8s.io/v1"},
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: "api", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &portNumber}},
	}))(t)
	must(p.etcd.Client().Put(t.Context(), "/registry/endpointslices/"+namespace+"/api", string(slice)))(t)
}

// register registers a group with the aggregator until the end of the test.
func (p *plane) register(t testing.TB, group, namespace string, modify func(*apiregistrationv1.APIServiceSpec)) {
	t.Helper()
	port := int32(443)
	spec := apiregistrationv1.APIServiceSpec{
		Group: group, Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 10,
		Service: &apiregistrationv1.ServiceReference{Namespace: namespace, Name: "api", Port: &port},
	}
	modify(&spec)
	services := aggregatorclient.NewForConfigOrDie(p.ClientConfig()).ApiregistrationV1().APIServices()
	must(services.Create(t.Context(), &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1." + group}, Spec: spec}, metav1.CreateOptions{}))(t)
	t.Cleanup(func() {
		err := services.Delete(context.Background(), "v1."+group, metav1.DeleteOptions{})
		if err != nil && !errors.Is(err, net.ErrClosed) { // the test has stopped the plane
			t.Error(err)
		}
	})
}

// wantAvailable watches an APIService until its condition Available is as wanted.
func (p *plane) wantAvailable(t testing.TB, group string, want apiregistrationv1.ConditionStatus, reason string) apiregistrationv1.APIServiceCondition {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testwait.Timeout)
	defer cancel()
	w := must(aggregatorclient.NewForConfigOrDie(p.ClientConfig()).ApiregistrationV1().APIServices().Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", "v1."+group).String(),
	}))(t)
	defer w.Stop()
	var latest apiregistrationv1.APIServiceCondition
	for event := range w.ResultChan() {
		if s, ok := event.Object.(*apiregistrationv1.APIService); ok {
			for _, c := range s.Status.Conditions {
				if c.Type == apiregistrationv1.Available {
					// The first reason may be that the Service has not been seen yet.
					if latest = c; c.Status == want && c.Reason == reason {
						return c
					}
				}
			}
		}
	}
	t.Fatalf("APIService of %s: got %+v, want Available %s with reason %s", group, latest, want, reason)
	return latest
}

func TestAggregatedServer(t *testing.T) {
	const group = "aggregated.example.com"
	p := sharedPlane(t)
	ns := p.namespace(t)
	server, requests := p.aggregated(t, group)
	p.service(t, ns, server.Listener.Addr())
	p.register(t, group, ns, func(s *apiregistrationv1.APIServiceSpec) { s.InsecureSkipTLSVerify = true })
	p.wantAvailable(t, group, apiregistrationv1.ConditionTrue, "Passed")

	const path = "/apis/" + group + "/v1/gadgets/one"
	testwait.Until(t, "a proxied request", func(context.Context) error {
		if a := p.get(t, path); a.status != http.StatusOK || !strings.Contains(a.body, `"Gadget"`) {
			return fmt.Errorf("HTTP %d %.100s", a.status, a.body)
		}
		return nil
	})
	s := <-requests
	if s.proxy != "front-proxy-client" {
		t.Errorf("common name of the proxy's certificate: got %q, want front-proxy-client", s.proxy)
	}
	if user := s.header.Get("X-Remote-User"); user != "kubernetes-admin" {
		t.Errorf("X-Remote-User: got %q, want kubernetes-admin", user)
	}
	if groups := s.header.Values("X-Remote-Group"); !slices.Contains(groups, "system:masters") {
		t.Errorf("X-Remote-Group: got %q, want system:masters among them", groups)
	}
	// The proxy must not pass the credentials of the client on.
	if s.header.Get("Authorization") != "" {
		t.Error("the proxied request has the client's token")
	}
	// Identity headers of a client have no effect.
	pair := must(p.pki.IssueClient("jane", []string{"system:masters"}, 0))(t)
	p.call(t, p.httpClient(t, pair), http.MethodGet, path, "", "X-Remote-User: root", "X-Remote-Group: root").want(t, http.StatusOK)
	s = <-requests
	if users := s.header.Values("X-Remote-User"); !slices.Equal(users, []string{"jane"}) || slices.Contains(s.header.Values("X-Remote-Group"), "root") {
		t.Errorf("with identity headers of the client: got user %q in groups %q, want jane", users, s.header.Values("X-Remote-Group"))
	}
	// This server authorizes the request as well.
	p.call(t, p.httpClient(t, must(p.pki.IssueClient("john", nil, 0))(t)), http.MethodGet, path, "").want(t, http.StatusForbidden)

	for _, accept := range []string{"Accept: application/json", aggregatedDiscovery} {
		testwait.Until(t, "discovery of the group", func(context.Context) error {
			if !strings.Contains(p.get(t, "/apis", accept).body, group) {
				return fmt.Errorf("%s does not list it", accept)
			}
			return nil
		})
	}
}

// TestAggregatedServerWithCABundle: a server that is verified by caBundle must have a
// certificate for the name of its Service.
func TestAggregatedServerWithCABundle(t *testing.T) {
	const group = "verified.example.com"
	p := sharedPlane(t)
	ns := p.namespace(t)
	server, _ := p.aggregated(t, group)
	p.service(t, ns, server.Listener.Addr())
	p.register(t, group, ns, func(s *apiregistrationv1.APIServiceSpec) {
		// The certificate of httptest is for example.com.
		s.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	})
	c := p.wantAvailable(t, group, apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck")
	if !strings.Contains(c.Message, "api."+ns+".svc") {
		t.Errorf("condition: got %+v, want a message that names the Service", c)
	}
}

func TestBrokenAggregatedServer(t *testing.T) {
	const group = "broken.example.com"
	p := sharedPlane(t)
	ns := p.namespace(t)
	closed := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	p.service(t, ns, closed.Addr())
	closed.Close()
	p.register(t, group, ns, func(s *apiregistrationv1.APIServiceSpec) { s.InsecureSkipTLSVerify = true })
	p.wantAvailable(t, group, apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck")
	testwait.Until(t, "an unavailable group", func(context.Context) error {
		if a := p.get(t, "/apis/"+group+"/v1/gadgets"); a.status != http.StatusServiceUnavailable {
			return fmt.Errorf("HTTP %d %.100s", a.status, a.body)
		}
		return nil
	})
	// Other groups and readiness are not affected.
	p.get(t, "/apis/apps/v1").want(t, http.StatusOK)
	p.get(t, "/readyz").want(t, http.StatusOK)
}

func TestAggregatedServerWithoutService(t *testing.T) {
	const group = "nowhere.example.com"
	p := sharedPlane(t)
	p.register(t, group, p.namespace(t), func(s *apiregistrationv1.APIServiceSpec) { s.InsecureSkipTLSVerify = true })
	p.wantAvailable(t, group, apiregistrationv1.ConditionFalse, "ServiceNotFound")
}

// TestBuiltInGroupsAreAvailable: each built-in group version has its APIService, as in
// kube-apiserver.
func TestBuiltInGroupsAreAvailable(t *testing.T) {
	p := sharedPlane(t)
	services := aggregatorclient.NewForConfigOrDie(p.ClientConfig()).ApiregistrationV1().APIServices()
	for _, gv := range defaultGroupVersions() {
		group, version, found := strings.Cut(gv, "/")
		if !found {
			group, version = "", gv
		}
		if group == "apiregistration.k8s.io" {
			continue // the aggregator's own
		}
		testwait.Until(t, gv, func(context.Context) error {
			s, err := services.Get(t.Context(), version+"."+group, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if len(s.Status.Conditions) != 1 || s.Status.Conditions[0].Status != apiregistrationv1.ConditionTrue {
				return fmt.Errorf("conditions %+v", s.Status.Conditions)
			}
			return nil
		})
	}
}

// TestExternalNameService: kube-apiserver without --enable-aggregator-routing resolves
// Services of this type. They are the way to an aggregated server or a webhook in the
// same process: endpoints cannot be loopback addresses.
func TestExternalNameService(t *testing.T) {
	const group = "external.example.com"
	p := sharedPlane(t)
	ns := p.namespace(t)
	server, _ := p.aggregated(t, group)
	must(p.admin().CoreV1().Services(ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "api"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{}))(t)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	number := must(strconv.ParseInt(port, 10, 32))(t)
	p.register(t, group, ns, func(s *apiregistrationv1.APIServiceSpec) {
		s.InsecureSkipTLSVerify = true
		*s.Service.Port = int32(number)
	})
	p.wantAvailable(t, group, apiregistrationv1.ConditionTrue, "Passed")
	testwait.Until(t, "a proxied request", func(context.Context) error {
		if a := p.get(t, "/apis/"+group+"/v1/gadgets/one"); a.status != http.StatusOK {
			return fmt.Errorf("HTTP %d %.100s", a.status, a.body)
		}
		return nil
	})
}
