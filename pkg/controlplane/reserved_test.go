// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"sync"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clientcsr "k8s.io/client-go/util/certificate/csr"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/nodeidentity"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// joined are the credentials of a joined kubelet.
type joined struct {
	*kubernetes.Clientset
	config *rest.Config
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
}

// joinAs requests the first client certificate of a node, and waits for it like a
// kubelet.
func joinAs(t testing.TB, kubeconfig []byte, node string) joined {
	t.Helper()
	return askedFor(t, fromKubeconfig(t, kubeconfig), clientCSR(node))
}

// askedFor requests a client certificate and waits for it.
func askedFor(t testing.TB, config *rest.Config, request *csr) joined {
	t.Helper()
	client := clientFor(t, config)
	name := request.create(t, client)
	created, err := client.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	data, err := clientcsr.WaitForCertificate(ctx, client, name, created.UID)
	if err != nil {
		t.Fatalf("%s: %v", request.Subject.CommonName, err)
	}
	j := joined{config: rest.AnonymousClientConfig(config), key: request.key}
	j.config.QPS = -1
	j.config.CertData = data
	if j.config.KeyData, err = keyutil.MarshalPrivateKeyToPEM(request.key); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if j.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	j.Clientset = clientFor(t, j.config)
	return j
}

// deniedJoin requests the name of a node, and must be denied.
func deniedJoin(t testing.TB, server *controlplane.Server, kubeconfig []byte, node, message string) {
	t.Helper()
	name := clientCSR(node).create(t, clientFor(t, fromKubeconfig(t, kubeconfig)))
	wantDenied(t, admin(t, server), name, "JoinRequestDenied", message)
}

// record waits for the expected record of a node.
func waitRecord(t testing.TB, server *controlplane.Server, node string, done func(*nodeidentity.Record) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last *nodeidentity.Record
	if err := lifecycle.Poll(ctx, func() bool {
		last = nil
		secret, err := admin(t, server).CoreV1().Secrets("kube-system").Get(ctx, nodeidentity.SecretName(node), metav1.GetOptions{})
		if err == nil {
			if last, err = nodeidentity.Load(secret); err != nil {
				t.Fatal(err)
			}
		} else if !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return done(last)
	}); err != nil {
		t.Fatalf("record of %s: got %+v, want another state", node, last)
	}
}

func registered(r *nodeidentity.Record) bool { return r != nil && r.NodeUID != "" }
func absent(r *nodeidentity.Record) bool     { return r == nil }

func deleteNode(t testing.TB, server *controlplane.Server, name string) {
	t.Helper()
	if err := admin(t, server).CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestStolenJoinFile: a thief with the join file requests the names of joining machines.
func TestStolenJoinFile(t *testing.T) {
	server := start(t, controlplane.Config{})
	join := joinKubeconfig(t, server, time.Hour)
	thief := clientFor(t, fromKubeconfig(t, join)).CertificatesV1().CertificateSigningRequests()
	const reserved = "is reserved for another key"

	t.Run("sees no requests of others", func(t *testing.T) {
		name := newRequest(t, "of-another")
		if _, err := admin(t, server).CertificatesV1().CertificateSigningRequests().Create(t.Context(), name, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, selector := range []string{"", "metadata.name!=x", "spec.signerName=kubernetes.io/kube-apiserver-client-kubelet", "metadata.name=", "metadata.name=a/b"} {
			options := metav1.ListOptions{FieldSelector: selector, TimeoutSeconds: ptr.To[int64](1)}
			_, err := thief.List(t.Context(), options)
			wantStatus(t, "list "+selector, err, 403)
			w, err := thief.Watch(t.Context(), options)
			wantStatus(t, "watch "+selector, err, 403)
			if err == nil {
				w.Stop()
			}
		}
		for _, path := range []string{
			"watch/certificatesigningrequests?timeoutSeconds=1",
			"watch/certificatesigningrequests?timeoutSeconds=1&fieldSelector=metadata.name%3Dx",
			"certificatesigningrequests?fieldSelector=metadata.name%21%3Dx&fieldSelector=metadata.name%3Dx",
			"certificatesigningrequests?fieldSelector=metadata.name%3Dx&limit=a",
		} {
			_, err := clientFor(t, fromKubeconfig(t, join)).CertificatesV1().RESTClient().Get().RequestURI("/apis/certificates.k8s.io/v1/" + path).DoRaw(t.Context())
			wantStatus(t, path, err, 403)
		}
		// Only the request that a kubelet waits for.
		list, err := thief.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=of-another"})
		if err != nil || len(list.Items) != 1 {
			t.Errorf("by name: got %v, %v, want one", list, err)
		}
	})
	t.Run("between the certificate and the Node", func(t *testing.T) {
		worker := joinAs(t, join, "w1")
		deniedJoin(t, server, join, "w1", reserved)
		deniedJoin(t, server, joinKubeconfig(t, server, time.Hour), "w1", "kubectl -n kube-system delete secret node-identity.w1")
		register(t, worker, "w1")
		waitRecord(t, server, "w1", registered)
		deniedJoin(t, server, join, "w1", "node w1 exists already")
		_, token := joinUser(t, join)
		list, err := admin(t, server).CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: nodeidentity.TokenLabelPrefix + token[:6]})
		if err != nil || len(list.Items) != 1 || list.Items[0].Name != "node-identity.w1" {
			t.Errorf("nodes that joined with the file: got %v, %v, want node-identity.w1", list.Items, err)
		}
	})
	t.Run("at the same moment", func(t *testing.T) {
		client := clientFor(t, fromKubeconfig(t, join))
		names := make([]string, 8)
		var group sync.WaitGroup
		for i := range names {
			group.Go(func() { names[i], _ = clientCSR("w2").tryCreate(t, client) })
		}
		group.Wait()
		issued := 0
		for _, name := range names {
			request := waitForRequest(t, admin(t, server), name, func(r *certificatesv1.CertificateSigningRequest) bool {
				return len(r.Status.Certificate) > 0 || condition(r, certificatesv1.CertificateDenied) != nil || condition(r, certificatesv1.CertificateFailed) != nil
			})
			if len(request.Status.Certificate) > 0 {
				issued++
			}
		}
		if issued != 1 {
			t.Errorf("certificates for w2: got %d, want 1", issued)
		}
	})
	t.Run("after NodeKubeconfig", func(t *testing.T) {
		node := asNode(t, server, "w3")
		deniedJoin(t, server, join, "w3", reserved)
		register(t, node, "w3")
		// The node itself renews.
		name := clientCSR("w3").create(t, node)
		wantSigned(t, server, name, x509.ExtKeyUsageClientAuth)
	})
	t.Run("after the approval of somebody else", func(t *testing.T) {
		// By upstream's approver, as RBAC allows system:masters everything.
		name := clientCSR("w4").create(t, overTLS(t, server, "jane", "system:masters"))
		wantSigned(t, server, name, x509.ExtKeyUsageClientAuth)
		deniedJoin(t, server, join, "w4", reserved)
	})
	t.Run("the same key asks again", func(t *testing.T) {
		first := joinAs(t, join, "w5")
		again := clientCSR("w5")
		again.key = first.key
		second := askedFor(t, fromKubeconfig(t, join), again)
		register(t, second, "w5")
		waitRecord(t, server, "w5", registered)
		// Its certificate has expired while the machine was off, and its key is there.
		askedFor(t, fromKubeconfig(t, join), &csr{CertificateRequest: again.CertificateRequest, CertificateSigningRequestSpec: again.CertificateSigningRequestSpec, key: first.key})
	})
	t.Run("the Node is deleted", func(t *testing.T) {
		old := joinAs(t, join, "w6")
		register(t, old, "w6")
		waitRecord(t, server, "w6", registered)
		deleteNode(t, server, "w6")
		replacement := joinAs(t, join, "w6") // at once, or when the record is gone
		deniedJoin(t, server, join, "w6", reserved)
		// The old machine keeps its certificate until it expires, but gets no other.
		name := clientCSR("w6").create(t, old)
		request := waitForRequest(t, admin(t, server), name, func(r *certificatesv1.CertificateSigningRequest) bool {
			return condition(r, certificatesv1.CertificateFailed) != nil || len(r.Status.Certificate) > 0
		})
		if c := condition(request, certificatesv1.CertificateFailed); c == nil || !strings.Contains(c.Message, "belongs to another key") {
			t.Errorf("the renewal by the old node: got %+v, want Failed because w1 belongs to another key", request.Status)
		}
		wantSigned(t, server, clientCSR("w6").create(t, replacement), x509.ExtKeyUsageClientAuth)
		register(t, replacement, "w6")
		waitRecord(t, server, "w6", registered)
		deleteNode(t, server, "w6")
		waitRecord(t, server, "w6", absent)
	})
	t.Run("the Node was there for a moment", func(t *testing.T) {
		worker := joinAs(t, join, "w7")
		register(t, worker, "w7")
		deleteNode(t, server, "w7")
		waitRecord(t, server, "w7", absent)
	})
	t.Run("renewals are remembered", func(t *testing.T) {
		worker := joinAs(t, join, "w8")
		register(t, worker, "w8")
		second := askedFor(t, worker.config, clientCSR("w8"))
		askedFor(t, second.config, clientCSR("w8"))
		waitRecord(t, server, "w8", func(r *nodeidentity.Record) bool { return len(r.Keys) == 3 })
	})
	t.Run("by hand", func(t *testing.T) {
		joinAs(t, join, "w9")
		if err := admin(t, server).CoreV1().Secrets("kube-system").Delete(t.Context(), "node-identity.w9", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		joinAs(t, join, "w9")
	})
	t.Run("a name as long as can be", func(t *testing.T) {
		long := strings.Repeat("a23456789.", 25) + "xyz"
		joinAs(t, join, long)
		deniedJoin(t, server, join, long, reserved)
	})
}

func approveByHand(t testing.TB, server *controlplane.Server, name string) {
	t.Helper()
	client := admin(t, server)
	request := waitForRequest(t, client, name, func(*certificatesv1.CertificateSigningRequest) bool { return true })
	request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "ByHand"})
	if _, err := client.CertificatesV1().CertificateSigningRequests().UpdateApproval(t.Context(), name, request, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestReservationsOutliveARestart: reservations survive a restart, except for nodes that
// were deleted in the meantime, for example by a control plane without core controllers.
func TestReservationsOutliveARestart(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir()}
	server := start(t, cfg)
	join := joinKubeconfig(t, server, time.Hour)
	at := func(server *controlplane.Server) []byte {
		return []byte(strings.ReplaceAll(string(join), oldURL(t, join), server.URL()))
	}
	joinAs(t, join, "waiting")
	register(t, joinAs(t, join, "gone"), "gone")
	waitRecord(t, server, "gone", registered)
	roleOfOlderRelease(t, server)
	closeServer(t, server)

	without := cfg
	without.DisableCoreControllers = true
	server = start(t, without)
	deleteNode(t, server, "gone")
	waitRecord(t, server, "gone", registered)
	closeServer(t, server)

	server = start(t, cfg)
	_, err := clientFor(t, fromKubeconfig(t, at(server))).CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	wantStatus(t, "list with the role of an older release", err, 403)
	waitRecord(t, server, "gone", absent)
	joinAs(t, at(server), "gone")
	deniedJoin(t, server, at(server), "waiting", "is reserved for another key")
}

// roleOfOlderRelease binds join tokens to the role of older releases.
func roleOfOlderRelease(t testing.TB, server *controlplane.Server) {
	t.Helper()
	bindings := admin(t, server).RbacV1().ClusterRoleBindings()
	binding, err := bindings.Get(t.Context(), "kubembed:kubelet-bootstrap", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := bindings.Delete(t.Context(), binding.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	binding.ObjectMeta = metav1.ObjectMeta{Name: binding.Name, Labels: binding.Labels, Annotations: binding.Annotations}
	binding.RoleRef.Name = "system:node-bootstrapper"
	if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func oldURL(t testing.TB, kubeconfig []byte) string {
	t.Helper()
	return fromKubeconfig(t, kubeconfig).Host
}
