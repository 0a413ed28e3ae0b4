// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestStopEndsWatches: Stop ends watches over TLS and in-process, with and without time.
func TestStopEndsWatches(t *testing.T) {
	for name, ctx := range map[string]context.Context{"drain": context.Background(), "cut": ended()} {
		t.Run(name, func(t *testing.T) {
			p := startPlane(t)
			var ends []<-chan struct{}
			for _, client := range []*kubernetes.Clientset{p.admin(), clientset(t, p.as(t, "root", "system:masters"))} {
				w := must(client.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{}))(t)
				done := make(chan struct{})
				go func() {
					defer close(done)
					for range w.ResultChan() {
					}
				}()
				ends = append(ends, done)
			}
			if err := p.Stop(ctx); err != nil {
				t.Error(err)
			}
			for _, end := range ends {
				<-end
			}
			if _, err := p.admin().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err == nil {
				t.Error("got an answer of a stopped server in-process, want an error")
			}
			if conn, err := net.DialTimeout("tcp", p.URL()[len("https://"):], waitTimeout); err == nil {
				conn.Close()
				t.Error("got a connection to a stopped server, want an error")
			}
			if err := p.Stop(ctx); err != nil {
				t.Errorf("second Stop: got error %v, want none", err)
			}
		})
	}
}

// parts returns the Config of New, and a plane without a server.
func parts(t testing.TB) (*plane, apiserver.Config) {
	t.Helper()
	p := &plane{dir: t.TempDir()}
	p.etcd = must(etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(p.dir, "etcd"), Ephemeral: true}))(t)
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	p.pki = must(pki.Open(pki.Config{}))(t)
	return p, apiserver.Config{
		Listener: must(net.Listen("tcp", "127.0.0.1:0"))(t), Client: p.etcd.Client(), Dial: p.etcd.DialContext, PKI: p.pki, Dir: p.dir,
	}
}

func TestStopBeforeStart(t *testing.T) {
	p, cfg := parts(t)
	p.use(must(apiserver.New(cfg))(t))
	nodes := p.admin().CoreV1().Nodes()
	answered := make(chan error)
	go func() {
		_, err := nodes.List(context.Background(), metav1.ListOptions{})
		answered <- err
	}()
	if _, err := nodes.List(ended(), metav1.ListOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("client whose context has ended: got error %v, want Canceled", err)
	}
	if err := p.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	t.Log(<-answered) // with or without an error, the client does not wait any longer
	if _, err := cfg.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener: got error %v, want closed", err)
	}
}

func TestStartWithoutTime(t *testing.T) {
	_, cfg := parts(t)
	server := must(apiserver.New(cfg))(t)
	if err := server.Start(ended()); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want Canceled", err)
	}
	if _, err := cfg.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener: got error %v, want closed", err)
	}
}

// TestStartAgain starts a second server on the data of a first one: the objects exist,
// and the bootstrap policy is repaired unless it is protected.
func TestStartAgain(t *testing.T) {
	p, cfg := parts(t)
	ctx := t.Context()
	start := func() {
		t.Helper()
		p.use(must(apiserver.New(cfg))(t))
		startCtx, cancel := context.WithTimeout(ctx, waitTimeout)
		defer cancel()
		if err := p.Start(startCtx); err != nil {
			t.Fatal(err)
		}
	}
	start()
	must(p.createPod(t, "default", pod("kept"), metav1.CreateOptions{}))(t)
	roles := p.admin().RbacV1().ClusterRoles()
	for name, protect := range map[string]bool{"system:node-bootstrapper": false, "system:node-problem-detector": true} {
		role := must(roles.Get(ctx, name, metav1.GetOptions{}))(t)
		role.Rules = nil
		if protect {
			role.Annotations = map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"}
		}
		must(roles.Update(ctx, role, metav1.UpdateOptions{}))(t)
	}
	if err := roles.Delete(ctx, "system:basic-user", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	cfg.Listener = must(net.Listen("tcp", "127.0.0.1:0"))(t)
	start()
	must(p.admin().CoreV1().Pods("default").Get(ctx, "kept", metav1.GetOptions{}))(t)
	roles = p.admin().RbacV1().ClusterRoles()
	must(roles.Get(ctx, "system:basic-user", metav1.GetOptions{}))(t)
	if role := must(roles.Get(ctx, "system:node-bootstrapper", metav1.GetOptions{}))(t); len(role.Rules) == 0 {
		t.Error("got a bootstrap role without rules, want it repaired")
	}
	if role := must(roles.Get(ctx, "system:node-problem-detector", metav1.GetOptions{}))(t); len(role.Rules) != 0 {
		t.Error("got rules in a protected role, want it unchanged")
	}
}

// TestInsecureListener: all clients are administrators.
func TestInsecureListener(t *testing.T) {
	insecure := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	p := startPlane(t, func(c *apiserver.Config) { c.InsecureListener = insecure })
	if want := "http://" + insecure.Addr().String(); p.InsecureURL() != want {
		t.Errorf("%s, want %s", p.InsecureURL(), want)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: waitTimeout}
	for _, authorization := range []string{"", "Bearer wrong"} {
		request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, p.InsecureURL()+"/api/v1/nodes", nil))(t)
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		response := must(client.Do(request))(t)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%q: got %s, want 200", authorization, response.Status)
		}
	}
	if sharedPlane(t).InsecureURL() != "" {
		t.Error("got an insecure listener by default, want none")
	}
}

// TestEventTTL: etcd deletes events by itself.
func TestEventTTL(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) { c.EventTTL = 10 * time.Minute })
	ctx := t.Context()
	must(p.admin().CoreV1().Events("default").Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e"}, InvolvedObject: corev1.ObjectReference{Namespace: "default"},
	}, metav1.CreateOptions{}))(t)
	got := must(p.etcd.Client().Get(ctx, "/registry/events/default/e"))(t)
	if len(got.Kvs) != 1 || got.Kvs[0].Lease == 0 {
		t.Fatalf("got %v, want one event with a lease", got.Kvs)
	}
	lease := must(p.etcd.Client().TimeToLive(ctx, clientv3.LeaseID(got.Kvs[0].Lease)))(t)
	// Upstream shares a lease among events, which makes it a little longer.
	if ttl := time.Duration(lease.GrantedTTL) * time.Second; ttl < 10*time.Minute || ttl > 20*time.Minute {
		t.Errorf("got a lease of %s, want 10 to 20 minutes", ttl)
	}
}

// The host is notified when a listener fails.
func TestListenerThatFails(t *testing.T) {
	var listener net.Listener
	p := startPlane(t, func(c *apiserver.Config) { listener = c.Listener })
	if err := p.Err(); err != nil {
		t.Errorf("before the failure: got error %v, want none", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	<-p.Failed()
	if err := p.Err(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the failure: got error %v, want a closed listener", err)
	}
}
