// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestPrefixes: servers with different prefixes in one etcd do not see each other.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	e := startRemoteEtcd(t)
	prefixes := []string{"/one", "/registry", "/registry2/deep"}
	planes := e.servers(t, len(prefixes), func(i int, c *apiserver.Config) { c.Prefix = prefixes[i] })
	for i, p := range planes {
		client := p.admin().CoreV1().ConfigMaps("default")
		if _, err := client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "same"}, Data: map[string]string{"i": fmt.Sprint(i)}}, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}
	for i, p := range planes {
		got := must(p.admin().CoreV1().ConfigMaps("default").Get(t.Context(), "same", metav1.GetOptions{}))(t)
		if got.Data["i"] != fmt.Sprint(i) {
			t.Errorf("server with prefix %s: got %v, want its own object", prefixes[i], got.Data)
		}
	}
	keys := must(e.client.Get(t.Context(), "\x00", clientv3.WithFromKey(), clientv3.WithKeysOnly()))(t)
	for _, kv := range keys.Kvs {
		key := string(kv.Key)
		if key != "compact_rev_key" && !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix+"/") }) {
			t.Errorf("key %s is below no prefix", key)
		}
	}
}

// TestFreshServers starts three servers on an empty etcd at the same time.
func TestFreshServers(t *testing.T) {
	t.Parallel()
	e := startRemoteEtcd(t)
	planes := e.servers(t, 3, advertised)
	ids := map[string]bool{}
	for _, p := range planes {
		ids[p.ID()] = true
	}
	if len(ids) != len(planes) {
		t.Errorf("got %d IDs, want %d", len(ids), len(planes))
	}
	testwait.Until(t, "Leases of the servers", func(context.Context) error {
		leases, err := planes[0].admin().CoordinationV1().Leases("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "apiserver.kubernetes.io/identity=kube-apiserver"})
		if err != nil || len(leases.Items) != len(planes) {
			return fmt.Errorf("got %d Leases, want %d: %v", len(leases.Items), len(planes), err)
		}
		return nil
	})
	for _, p := range planes {
		p.wantEndpoints(t, 0, 1, 2)
	}
	if err := planes[1].close(); err != nil {
		t.Error(err)
	}
	planes[0].wantEndpoints(t, 0, 2)
	if err := planes[0].close(); err != nil {
		t.Error(err)
	}
	planes[2].wantEndpoints(t, 2)
}

// wantEndpoints waits until servers are the endpoints of the kubernetes Service.
func (p *plane) wantEndpoints(t *testing.T, servers ...int) {
	t.Helper()
	var want []string
	for _, i := range servers {
		want = append(want, testAddress(i).String())
	}
	testwait.Until(t, "endpoints of the kubernetes Service", func(context.Context) error {
		var got []string
		slice, err := p.admin().DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for i := range slice.Endpoints {
			got = append(got, slice.Endpoints[i].Addresses...)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("got %v, want %v", got, want)
		}
		return nil
	})
}

// TestWritesTakeEffectOnOtherServers: CRDs and RBAC bindings that are written through one
// server take effect on the others.
func TestWritesTakeEffectOnOtherServers(t *testing.T) {
	t.Parallel()
	planes := startRemoteEtcd(t).servers(t, 2)
	a, b := planes[0], planes[1]

	// Both servers serve a CRD when it is established.
	const group = "shared.example.com"
	resource := a.widgets(t, group).Namespace("default")
	onOther := dynamic.NewForConfigOrDie(b.ClientConfig()).Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "widgets"}).Namespace("default")
	for name, client := range map[string]dynamic.ResourceInterface{"a": resource, "b": onOther} {
		if _, err := client.Create(t.Context(), widget(group, name, 1), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, client := range []dynamic.ResourceInterface{resource, onOther} {
		for _, name := range []string{"a", "b"} {
			if _, err := client.Get(t.Context(), name, metav1.GetOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
	testwait.Until(t, "discovery", func(context.Context) error {
		if got := b.get(t, "/apis/"+group+"/v1"); got.status != http.StatusOK {
			return fmt.Errorf("HTTP %d", got.status)
		}
		return nil
	})

	// Both servers authorize by a new binding.
	jane := clientset(t, b.as(t, "jane"))
	if _, err := jane.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("list of pods without a binding: got %v, want Forbidden", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "jane"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "jane"}},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", APIGroup: rbacv1.GroupName, Name: "view"},
	}
	if _, err := a.admin().RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "a binding that was created through another server", func(context.Context) error {
		_, err := jane.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		return err
	})
}

// TestServiceAddressesAreUnique: Services that are created through two servers at the
// same time get different addresses and node ports.
func TestServiceAddressesAreUnique(t *testing.T) {
	t.Parallel()
	planes := startRemoteEtcd(t).servers(t, 2)
	const each = 60
	var mu sync.Mutex
	addresses, ports := map[string]int{}, map[int32]int{}
	var group sync.WaitGroup
	for _, p := range planes {
		client := p.admin().CoreV1().Services("default")
		for range 4 {
			group.Go(func() {
				for range each / 4 {
					service, err := client.Create(t.Context(), &corev1.Service{
						ObjectMeta: metav1.ObjectMeta{GenerateName: "many-"},
						Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
					}, metav1.CreateOptions{})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					addresses[service.Spec.ClusterIP]++
					ports[service.Spec.Ports[0].NodePort]++
					mu.Unlock()
				}
			})
		}
	}
	group.Wait()
	if len(addresses) != 2*each || len(ports) != 2*each {
		t.Errorf("got %d addresses and %d ports, want %[3]d and %[3]d", len(addresses), len(ports), 2*each)
	}
}

// TestOtherVersions: a release does not write to the data of a release that it cannot
// follow.
func TestOtherVersions(t *testing.T) {
	t.Parallel()
	e := startRemoteEtcd(t)
	const key = "/registry/kubembed/version"
	put := func(value string) {
		t.Helper()
		if _, err := e.client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	put(`{"kubernetes":"v1.99.0"}`)
	for _, shared := range []bool{true, false} {
		p, err := e.newServer(t.TempDir(), func(c *apiserver.Config) { c.Shared = shared })
		if !errors.Is(err, apiserver.ErrVersionSkew) || !contains(err, "v1.99.0") {
			t.Errorf("shared %v: got %v, want ErrVersionSkew", shared, err)
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}
	if got := must(e.client.Get(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithCountOnly()))(t); got.Count != 1 {
		t.Errorf("a refused start has written %d keys, want none", got.Count-1)
	}
	put("???")
	p, err := e.newServer(t.TempDir())
	if !contains(err, key) {
		t.Errorf("malformed version: got %v, want an error that names the key", err)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	put(`{"kubernetes":"v1.36.0"}`)
	e.servers(t, 2)
	if got := must(e.client.Get(t.Context(), key))(t); string(got.Kvs[0].Value) != fmt.Sprintf(`{"kubernetes":%q}`, apiserver.KubernetesVersion) {
		t.Errorf("stored version after newer servers: got %s, want %s", got.Kvs[0].Value, apiserver.KubernetesVersion)
	}
}

// TestEtcdIsUnavailable: while etcd is unavailable, readiness is red and requests fail.
// Afterwards the servers recover without a restart.
func TestEtcdIsUnavailable(t *testing.T) {
	t.Parallel()
	e := startRemoteEtcd(t)
	planes := e.servers(t, 2, advertised)
	p := planes[0]
	pods := p.admin().CoreV1().Pods("default")
	create := func(ctx context.Context, name string) error {
		_, err := pods.Create(ctx, pod(name), metav1.CreateOptions{})
		return err
	}
	if err := create(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	seen := p.follow(t)
	testwait.Until(t, "a watch", func(context.Context) error { return seen("before") })

	for round := range 2 {
		e.Stop()
		for _, p := range planes {
			testwait.Until(t, "a failing readiness check", func(context.Context) error {
				if a := p.get(t, "/readyz?verbose"); a.status == http.StatusOK || !strings.Contains(a.body, "[-]etcd-readiness failed") {
					return fmt.Errorf("HTTP %d: %s", a.status, a.body)
				}
				return nil
			})
		}
		// client-go would retry these requests.
		client := p.inProcess(t)
		client.Timeout = testwait.Timeout
		const path = "/api/v1/namespaces/default/pods"
		p.call(t, client, http.MethodPost, path, string(must(json.Marshal(pod("during")))(t))).want(t, http.StatusInternalServerError)
		p.call(t, client, http.MethodGet, path+"/before", "").want(t, http.StatusInternalServerError)
		p.call(t, client, http.MethodGet, path, "").want(t, http.StatusInternalServerError)
		e.Restart(t)
		for _, p := range planes {
			testwait.Until(t, "readiness", func(context.Context) error {
				if a := p.get(t, "/readyz?verbose"); a.status != http.StatusOK {
					return errors.New(a.body)
				}
				return nil
			})
		}
		after := fmt.Sprint("after-", round)
		testwait.Until(t, "a write", func(context.Context) error { return create(t.Context(), after) })
		testwait.Until(t, "a watch that continues", func(context.Context) error { return seen(after) })
	}
	planes[1].wantEndpoints(t, 0, 1)
	// Informers of the authorizer have recovered too.
	jane := clientset(t, p.as(t, "jane"))
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "jane"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "jane"}},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", APIGroup: rbacv1.GroupName, Name: "view"},
	}
	if _, err := planes[1].admin().RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the authorizer", func(context.Context) error {
		_, err := jane.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		return err
	})
}

// follow starts an informer of pods. seen returns an error if it does not have a pod.
func (p *plane) follow(t *testing.T) (seen func(name string) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactory(p.admin(), 0)
	pods := factory.Core().V1().Pods().Lister().Pods("default")
	factory.StartWithContext(ctx)
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
	return func(name string) error {
		_, err := pods.Get(name)
		return err
	}
}
