// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestWhoMayDoWhat(t *testing.T) {
	server := start(t, controlplane.Config{})
	ctx := t.Context()
	listPods := func(client kubernetes.Interface) error {
		_, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		return err
	}

	t.Run("in-process client", func(t *testing.T) {
		client := admin(t, server)
		if err := listPods(client); err != nil {
			t.Error(err)
		}
		wantUser(t, client, "kubernetes-admin", "system:masters")
	})
	t.Run("admin kubeconfig", func(t *testing.T) {
		client := overTLS(t, server, "jane", "system:masters")
		if err := listPods(client); err != nil {
			t.Error(err)
		}
		wantUser(t, client, "jane", "system:masters")
	})
	t.Run("kubeconfig without groups", func(t *testing.T) {
		client := overTLS(t, server, "joe")
		wantStatus(t, "list pods", listPods(client), 403)
		wantUser(t, client, "joe", "system:authenticated")
	})
	t.Run("nobody", func(t *testing.T) {
		client := clientFor(t, &rest.Config{Host: server.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: server.CABundle()}})
		for _, path := range []string{"/livez", "/readyz", "/healthz", "/version"} {
			if _, err := client.RESTClient().Get().AbsPath(path).DoRaw(ctx); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		_, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		wantStatus(t, "list nodes", err, 401)
		wantStatus(t, "/metrics", client.RESTClient().Get().AbsPath("/metrics").Do(ctx).Error(), 401)
	})
	t.Run("a token that nobody issued", func(t *testing.T) {
		client := clientFor(t, &rest.Config{Host: server.URL(), BearerToken: "secret",
			TLSClientConfig: rest.TLSClientConfig{CAData: server.CABundle()}})
		wantStatus(t, "list pods", listPods(client), 401)
	})
	t.Run("kubeconfig of another control plane", func(t *testing.T) {
		other := start(t, controlplane.Config{})
		if bytes.Equal(other.CABundle(), server.CABundle()) {
			t.Error("two control planes have the same CA")
		}
		kubeconfig, err := other.Kubeconfig("admin", "system:masters")
		if err != nil {
			t.Fatal(err)
		}
		config := fromKubeconfig(t, kubeconfig)
		config.Host = server.URL()
		if err := listPods(clientFor(t, config)); err == nil || !strings.Contains(err.Error(), "x509") {
			t.Errorf("with another CA: got %v, want an x509 error", err)
		}
		config.CAData = server.CABundle()
		wantStatus(t, "list pods", listPods(clientFor(t, config)), 401)
	})
	t.Run("no user", func(t *testing.T) {
		if kubeconfig, err := server.Kubeconfig(""); err == nil {
			t.Errorf("Kubeconfig without a user: got %s, want an error", kubeconfig)
		}
		if kubeconfig, err := server.NodeKubeconfig("not a name!"); err == nil {
			t.Errorf("NodeKubeconfig of no name: got %s, want an error", kubeconfig)
		}
	})
}

// TestNodesKeepToThemselves tests the Node authorizer and NodeRestriction.
func TestNodesKeepToThemselves(t *testing.T) {
	server := start(t, controlplane.Config{})
	kubeconfig, err := server.NodeKubeconfig("n1")
	if err != nil {
		t.Fatal(err)
	}
	node := clientFor(t, fromKubeconfig(t, kubeconfig))
	create := func(name string) error {
		_, err := node.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}
	wantUser(t, node, "system:node:n1", "system:nodes")
	if err := create("n1"); err != nil {
		t.Error(err)
	}
	wantStatus(t, "create node n2", create("n2"), 403)
	_, err = node.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
	wantStatus(t, "list secrets", err, 403)

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "of-another"}}
	if _, err := admin(t, server).CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = node.CoreV1().Secrets("default").Get(t.Context(), "of-another", metav1.GetOptions{})
	wantStatus(t, "get a secret that no pod of the node has", err, 403)
}

func TestInsecureAddr(t *testing.T) {
	server := start(t, controlplane.Config{InsecureAddr: "127.0.0.1:0"})
	response, err := http.Get(server.InsecureURL() + "/api/v1/nodes")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var list metav1.TypeMeta
	if err := json.Unmarshal(body, &list); err != nil || response.StatusCode != http.StatusOK || list.Kind != "NodeList" {
		t.Errorf("got %s: %s, %v, want 200 and a NodeList", response.Status, body, err)
	}
	http.DefaultClient.CloseIdleConnections()

	if got := start(t, controlplane.Config{}).InsecureURL(); got != "" {
		t.Errorf("InsecureURL without InsecureAddr: got %q, want none", got)
	}
}

// wantUser asks the server who the client is.
func wantUser(t *testing.T, client kubernetes.Interface, name, group string) {
	t.Helper()
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	info := review.Status.UserInfo
	if info.Username != name || !strings.Contains(" "+strings.Join(info.Groups, " ")+" ", " "+group+" ") {
		t.Errorf("the server sees user %q in groups %q, want %q in %q", info.Username, info.Groups, name, group)
	}
}
