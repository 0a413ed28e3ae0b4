// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/internal/nodeidentity"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// wantRefused checks that a node's certificate is refused.
func wantRefused(t testing.TB, what string, node kubernetes.Interface, name string) {
	t.Helper()
	_, err := node.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	wantStatus(t, what, err, http.StatusUnauthorized)
}

// wantAccepted checks that it is accepted. The Node may be missing.
func wantAccepted(t testing.TB, what string, node kubernetes.Interface, name string) {
	t.Helper()
	if _, err := node.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("%s: %v", what, err)
	}
}

func TestRevokeNode(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir()}
	server := start(t, cfg)
	ctx := t.Context()
	revoke := func(t *testing.T, name string) {
		t.Helper()
		if err := server.RevokeNode(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	join := joinKubeconfig(t, server, time.Hour)

	t.Run("and nobody else", func(t *testing.T) {
		bystander := joinAs(t, join, "bystander")
		victim := joinAs(t, join, "n1")
		register(t, victim, "n1")
		renewed := askedFor(t, victim.config, clientCSR("n1"))
		outside := asNode(t, server, "n1")
		for what, node := range map[string]kubernetes.Interface{"joined": victim, "renewed": renewed, "NodeKubeconfig": outside} {
			wantAccepted(t, what, node, "n1")
		}
		watching := openWatch(t, victim.config, "n1")
		other := openWatch(t, bystander.config, "bystander")
		unread := openUnread(t, victim.config)

		revoke(t, "n1")
		// At once, despite caches, on open and new connections.
		for what, node := range map[string]kubernetes.Interface{"joined": victim, "renewed": renewed, "NodeKubeconfig": outside} {
			wantRefused(t, what, node, "n1")
		}
		wantRefused(t, "on a new connection", clientFor(t, rest.CopyConfig(victim.config)), "n1")
		watching.ended(t)
		unread.ended(t)
		if _, err := admin(t, server).CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the Node: got error %v, want not found", err)
		}
		wantAccepted(t, "another node", bystander, "bystander")
		other.open(t)
		other.close()
		revoke(t, "n1") // again
	})
	t.Run("who joins later", func(t *testing.T) {
		victim := joinAs(t, join, "n2")
		revoke(t, "n2")
		// The revoked key cannot join.
		request := clientCSR("n2")
		request.key = victim.key
		name := request.create(t, clientFor(t, fromKubeconfig(t, join)))
		wantDenied(t, admin(t, server), name, "JoinRequestDenied", "this key was revoked")

		replacement := joinAs(t, join, "n2")
		wantAccepted(t, "the replacement", replacement, "n2")
		wantRefused(t, "the revoked", victim, "n2")
		register(t, replacement, "n2")
		waitRecord(t, server, "n2", registered)
		deniedJoin(t, server, join, "n2", "node n2 exists already")
		renewed := askedFor(t, replacement.config, clientCSR("n2"))
		wantAccepted(t, "its renewal", renewed, "n2")
		wantAccepted(t, "a file of the host", asNode(t, server, "n2"), "n2")
		// The name is free again when the Node is deleted.
		deleteNode(t, server, "n2")
		waitRecord(t, server, "n2", func(r *nodeidentity.Record) bool { return !r.Reserved })
		third := joinAs(t, join, "n2")
		wantAccepted(t, "the third", third, "n2")
		wantRefused(t, "the first", victim, "n2")
		testwait.True(t, "the second is refused", func() bool {
			_, err := renewed.CoreV1().Nodes().Get(ctx, "n2", metav1.GetOptions{})
			return apierrors.IsUnauthorized(err)
		})
	})
	t.Run("requests that are under way", func(t *testing.T) {
		victim := joinAs(t, join, "n3")
		register(t, victim, "n3")
		key := victimKey(t, victim)
		revoke(t, "n3")
		// A request from before the revocation that is handled later.
		for _, signer := range []*csr{clientCSR("n3"), servingCSR("n3")} {
			as := rest.CopyConfig(server.ClientConfig())
			as.Impersonate = rest.ImpersonationConfig{UserName: "system:node:n3", Groups: []string{"system:nodes", "system:authenticated"},
				Extra: map[string][]string{nodeidentity.KeyExtra: {key}}}
			name := signer.create(t, clientFor(t, as))
			if signer.SignerName == certificatesv1.KubeletServingSignerName {
				approveByHand(t, server, name)
			}
			request := waitForRequest(t, admin(t, server), name, func(r *certificatesv1.CertificateSigningRequest) bool {
				return condition(r, certificatesv1.CertificateFailed) != nil || len(r.Status.Certificate) > 0
			})
			if c := condition(request, certificatesv1.CertificateFailed); c == nil || !strings.Contains(c.Message, "revoked") {
				t.Errorf("%s: got %+v, want Failed because the node is revoked", signer.SignerName, request.Status)
			}
		}
	})
	t.Run("a name without a Node", func(t *testing.T) {
		old, err := server.NodeKubeconfig("n4")
		if err != nil {
			t.Fatal(err)
		}
		revoke(t, "n4")
		wantRefused(t, "made before", clientFor(t, fromKubeconfig(t, old)), "n4")
		wantAccepted(t, "made later", asNode(t, server, "n4"), "n4")
		revoke(t, "never-there")
	})
	t.Run("no name", func(t *testing.T) {
		if err := server.RevokeNode(ctx, "Not a name"); err == nil || !strings.Contains(err.Error(), `revoke node "Not a name": not the name of a node`) {
			t.Errorf(`got %v, want "not the name of a node"`, err)
		}
	})

	// After a restart too, from the first request on.
	last := joinAs(t, join, "n5")
	revoke(t, "n5")
	replacement := joinAs(t, join, "n5")
	closeServer(t, server)
	if err := server.RevokeNode(ctx, "n5"); err == nil || !strings.Contains(err.Error(), "the control plane is stopped") {
		t.Errorf("after the end: got %v, want that the control plane is stopped", err)
	}
	server = start(t, cfg)
	last.config.Host, replacement.config.Host = server.URL(), server.URL()
	wantRefused(t, "after a restart", clientFor(t, last.config), "n5")
	wantAccepted(t, "the replacement after a restart", clientFor(t, replacement.config), "n5")
}

// TestRevokeNodeEverywhere revokes at one of two control planes.
func TestRevokeNodeEverywhere(t *testing.T) {
	servers := share(t, etcdtest.Start(t), 2, func(int, *controlplane.Config) {})
	first, second := servers[0], servers[1]
	join := joinKubeconfig(t, first, time.Hour)
	victim := joinAs(t, join, "n1")
	elsewhere := rest.CopyConfig(victim.config)
	elsewhere.Host = second.URL()
	client := clientFor(t, elsewhere)
	wantAccepted(t, "before", client, "n1")
	watching := openWatch(t, elsewhere, "n1")
	if err := first.RevokeNode(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	testwait.True(t, "refused by the other", func() bool {
		_, err := client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		return apierrors.IsUnauthorized(err)
	})
	watching.ended(t)
}

func victimKey(t testing.TB, j joined) string {
	t.Helper()
	hash, err := nodeidentity.HashKey(&j.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// under is an operation in progress on a connection.
type under struct {
	done chan struct{}
	body io.Closer
}

func (u *under) ended(t testing.TB) {
	t.Helper()
	select {
	case <-u.done:
	case <-time.After(time.Minute):
		t.Error("got a request that goes on, want it ended")
	}
}

func (u *under) open(t testing.TB) {
	t.Helper()
	select {
	case <-u.done:
		t.Error("got a request that has ended, want it open")
	default:
	}
}

func (u *under) close() { _ = u.body.Close() }

// openWatch watches the Node of a node, and returns the bytes of the response as they
// arrive.
func openWatch(t testing.TB, config *rest.Config, node string) *under {
	t.Helper()
	body, err := clientFor(t, config).CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes").
		Param("watch", "true").Param("fieldSelector", "metadata.name="+node).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return readToEnd(t, body)
}

func readToEnd(t testing.TB, body io.ReadCloser) *under {
	u := &under{done: make(chan struct{}), body: body}
	go func() {
		defer close(u.done)
		_, _ = io.Copy(io.Discard, body)
	}()
	t.Cleanup(func() { _ = body.Close(); <-u.done })
	return u
}

// openUnread sends an incomplete request of a node: it was authenticated, and must not be
// executed later.
func openUnread(t testing.TB, config *rest.Config) *under {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, config.Host+"/apis/certificates.k8s.io/v1/certificatesigningrequests", reader)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	u := &under{done: make(chan struct{}), body: writer}
	go func() {
		defer close(u.done)
		if response, err := client.Do(request); err == nil {
			t.Errorf("the request without an end: got %s, want an error", response.Status)
			_ = response.Body.Close()
		}
	}()
	if _, err := writer.Write([]byte(`{"kind":`)); err != nil { // taken by the transport
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = writer.Close(); <-u.done })
	return u
}
