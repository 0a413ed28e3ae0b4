// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// keysIn returns the keys of an etcd below a prefix.
func keysIn(t testing.TB, client *clientv3.Client, prefix string) (keys []string) {
	t.Helper()
	for _, kv := range must(client.Get(t.Context(), prefix, clientv3.WithPrefix()))(t).Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

func createEvent(t testing.TB, p *plane, name string) {
	t.Helper()
	must(p.admin().CoreV1().Events("default").Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{Namespace: "default"}, Message: "content of " + name,
	}, metav1.CreateOptions{}))(t)
}

// TestEtcdOverrides: Events of both groups, and Leases, are in an etcd of their own, and
// work: lists, watches and expiry. Nothing of them is in the other etcd.
func TestEtcdOverrides(t *testing.T) {
	other := etcdtest.Start(t).Client(t)
	p := startPlane(t, func(c *apiserver.Config) {
		c.EventTTL = 5 * time.Second
		c.EtcdOverrides = []apiserver.EtcdOverride{{Resources: []string{"events", "leases.coordination.k8s.io"}, Client: other}}
	})
	events := p.admin().CoreV1().Events("default")
	createEvent(t, p, "core")
	must(p.admin().EventsV1().Events("default").Create(t.Context(), &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "new"}, EventTime: metav1.NowMicro(), ReportingController: "example.com/test", ReportingInstance: "one", Action: "Test", Reason: "Test", Type: "Normal",
	}, metav1.CreateOptions{}))(t)
	if list := must(events.List(t.Context(), metav1.ListOptions{}))(t); len(list.Items) != 2 {
		t.Errorf("got %d Events, want both", len(list.Items))
	}
	must(p.admin().CoordinationV1().Leases("default").Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, metav1.CreateOptions{}))(t)
	must(p.createPod(t, "default", pod("one"), metav1.CreateOptions{}))(t)
	for prefix, moved := range map[string]bool{"/registry/events/": true, "/registry/leases/": true, "/registry/pods/": false, "/registry/namespaces/": false} {
		here, there := keysIn(t, p.etcd.Client(), prefix), keysIn(t, other, prefix)
		if moved && (len(here) > 0 || len(there) == 0) || !moved && (len(here) == 0 || len(there) > 0) {
			t.Errorf("%s: the keys are %q, and in the other etcd %q, want them there: %v", prefix, here, there, moved)
		}
	}
	testwait.Gone(t, testwait.Named(p.admin().CoreV1().RESTClient(), "events", "default", "core"), &corev1.Event{})
}

// TestHealthOfOverrides: if the other etcd stops, the server is not ready, and names it.
// All other resources work.
func TestHealthOfOverrides(t *testing.T) {
	other := etcdtest.Start(t)
	p := startPlane(t, func(c *apiserver.Config) {
		c.EtcdOverrides = []apiserver.EtcdOverride{{Resources: []string{"events"}, Client: other.Client(t)}}
	})
	p.get(t, "/readyz/etcd-override-readiness-0").want(t, http.StatusOK)
	other.Stop()
	testwait.Until(t, "the server is not ready", func(context.Context) error {
		if a := p.get(t, "/readyz"); a.status == http.StatusOK || !strings.Contains(a.body, "[-]etcd-override-0 failed") {
			return errors.New(a.body)
		}
		return nil
	})
	must(p.createPod(t, "default", pod("works"), metav1.CreateOptions{}))(t)
	_, err := p.admin().CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
	if err == nil {
		t.Error("got Events without their etcd, want an error")
	}
	other.Restart(t)
	testwait.Until(t, "the server is ready again", func(context.Context) error {
		if a := p.get(t, "/readyz"); a.status != http.StatusOK {
			return errors.New(a.body)
		}
		return nil
	})
	createEvent(t, p, "again")
}

// TestReencryptOverrides: objects in another etcd are encrypted, and encrypted again with
// a new key. A server without a key for them does not start.
func TestReencryptOverrides(t *testing.T) {
	other := etcdtest.Start(t).Client(t)
	dir := t.TempDir()
	member := must(etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(dir, "etcd"), Ephemeral: true}))(t)
	defer member.Close()
	identities := must(pki.Open(pki.Config{Hosts: []string{"127.0.0.1"}}))(t)
	key := func(b byte) apiserver.EncryptionKey {
		return apiserver.EncryptionKey{Name: string(b), Secretbox: bytes.Repeat([]byte{b}, 32)}
	}
	started := func(keys ...apiserver.EncryptionKey) (*plane, error) {
		p := &plane{pki: identities, dir: dir}
		server, err := apiserver.New(apiserver.Config{
			Listener: must(net.Listen("tcp", "127.0.0.1:0"))(t), Client: member.Client(), Dial: member.DialContext, PKI: identities, Dir: dir,
			EtcdOverrides: []apiserver.EtcdOverride{{Resources: []string{"events"}, Client: other}},
			Encryption:    apiserver.Encryption{Resources: []string{"events"}, Keys: keys},
		})
		if err != nil {
			return nil, err
		}
		p.use(server)
		return p, p.Start(t.Context())
	}
	stored := func() string {
		return string(must(other.Get(t.Context(), "/registry/events/default/secret"))(t).Kvs[0].Value)
	}

	p := must(started(key('a')))(t)
	createEvent(t, p, "secret")
	if value := stored(); !strings.HasPrefix(value, "k8s:enc:secretbox:v1:a:") {
		t.Errorf("the Event is stored as %q, want it encrypted", value)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	p = must(started(key('b'), key('a')))(t)
	if n := must(p.Reencrypt(t.Context()))(t); n == 0 {
		t.Error("no object was encrypted again, want the Event")
	}
	if value := stored(); !strings.HasPrefix(value, "k8s:enc:secretbox:v1:b:") {
		t.Errorf("the Event is stored as %q, want the new key", value)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if _, err := started(key('c')); !errors.Is(err, apiserver.ErrUndecryptable) {
		t.Errorf("got error %v without the key, want ErrUndecryptable", err)
	}
}

// TestUnreachableOverride: New fails with the name of the field.
func TestUnreachableOverride(t *testing.T) {
	other := etcdtest.Start(t)
	client := other.Client(t)
	other.Stop()
	_, err := newPlane(t.TempDir(), func(c *apiserver.Config) {
		c.EtcdOverrides = []apiserver.EtcdOverride{{Resources: []string{"events"}, Client: client}}
	})
	if !contains(err, `Config.EtcdOverrides[0].Client: the etcd of ["events"] does not answer`) {
		t.Errorf("got error %v, want one that names the client", err)
	}
}

// TestBadOverrides: each error names the Go field.
func TestBadOverrides(t *testing.T) {
	client := &clientv3.Client{}
	for _, test := range []struct {
		overrides []apiserver.EtcdOverride
		want      string
	}{
		{[]apiserver.EtcdOverride{{Client: client}}, "EtcdOverrides[0].Resources: Required"},
		{[]apiserver.EtcdOverride{{Resources: []string{"events"}}}, "EtcdOverrides[0].Client: Required"},
		{[]apiserver.EtcdOverride{{Resources: []string{"event"}, Client: client}}, "EtcdOverrides[0].Resources[0]: Invalid value: \"event\": is no built-in resource"},
		{[]apiserver.EtcdOverride{{Resources: []string{"pods"}, Client: client}}, "EtcdOverrides[0].Resources[0]: Forbidden: pods must stay"},
		{[]apiserver.EtcdOverride{{Resources: []string{"clusterroles.rbac.authorization.k8s.io"}, Client: client}}, "EtcdOverrides[0].Resources[0]: Forbidden"},
		{[]apiserver.EtcdOverride{{Resources: []string{"secrets"}, Client: client}}, "EtcdOverrides[0].Resources[0]: Forbidden"},
		{[]apiserver.EtcdOverride{{Resources: []string{"events"}, Client: client}, {Resources: []string{"events.events.k8s.io"}, Client: client}}, "EtcdOverrides[1].Resources[0]: Duplicate"},
	} {
		errs := access.ValidateOptional(apiserver.Config{EtcdOverrides: test.overrides})
		if len(errs) != 1 || !contains(errs.ToAggregate(), test.want) {
			t.Errorf("%v: got errors %v, want one with %q", test.overrides, errs, test.want)
		}
	}
}
