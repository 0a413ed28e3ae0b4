// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// newKubeconfig returns an administrator's kubeconfig.
func newKubeconfig(t testing.TB, server *controlplane.Server, lifetime time.Duration) (file []byte, config *rest.Config, certificate *x509.Certificate) {
	t.Helper()
	file, err := server.NewKubeconfig(controlplane.KubeconfigOptions{User: "jane", Groups: []string{"system:masters"}, Lifetime: lifetime})
	if err != nil {
		t.Fatal(err)
	}
	config = fromKubeconfig(t, file)
	chain, err := cert.ParseCertsPEM(config.CertData)
	if err != nil {
		t.Fatal(err)
	}
	return file, config, chain[0]
}

func mayList(t testing.TB, what string, client kubernetes.Interface) {
	t.Helper()
	if _, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func mayNotList(t testing.TB, what string, client kubernetes.Interface) {
	t.Helper()
	_, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	wantStatus(t, what, err, http.StatusUnauthorized)
}

// TestRevokeKubeconfig: every copy of a revoked file is refused.
func TestRevokeKubeconfig(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir()}
	server := start(t, cfg)
	ctx := t.Context()
	file, config, certificate := newKubeconfig(t, server, 0)
	_, otherConfig, _ := newKubeconfig(t, server, 0)
	client, other := clientFor(t, config), clientFor(t, otherConfig)
	mayList(t, "before", client)
	mayList(t, "the other file of the user", other)
	watching, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()

	for range 2 { // again is no error
		if err := server.RevokeKubeconfig(ctx, file); err != nil {
			t.Fatal(err)
		}
	}
	mayNotList(t, "after, on the same connections", client)
	mayNotList(t, "after, on a new connection", clientFor(t, rest.CopyConfig(config)))
	mayList(t, "the other file of the user, after", other)
	for range watching.ResultChan() { // until it is closed
	}
	secrets, err := admin(t, server).CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{FieldSelector: "type=kubembed.dev/revoked-certificate"})
	if err != nil || len(secrets.Items) != 1 || string(secrets.Items[0].Data["user"]) != "jane" ||
		string(secrets.Items[0].Data["notAfter"]) != certificate.NotAfter.UTC().Format(time.RFC3339) {
		t.Fatalf("secrets: got %v, %v, want one, of jane and with the end of the certificate", secrets, err)
	}
	closeServer(t, server)

	server = start(t, cfg)
	mayNotList(t, "after a restart", client)
	mayList(t, "the other file of the user, after a restart", other)
	// A revocation whose certificate has expired is deleted by the next one.
	secret := secrets.Items[0]
	secret.Data["notAfter"] = []byte(time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))
	secret.ResourceVersion = ""
	if _, err := admin(t, server).CoreV1().Secrets("kube-system").Update(ctx, &secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	last, lastConfig, _ := newKubeconfig(t, server, 0)
	if err := server.RevokeKubeconfig(ctx, last); err != nil {
		t.Fatal(err)
	}
	mayNotList(t, "the last", clientFor(t, lastConfig))
	testwait.True(t, "the deleted revocation is forgotten", func() bool {
		_, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err == nil
	})
}

func TestRevokeKubeconfigOfOthers(t *testing.T) {
	server := start(t, controlplane.Config{})
	elsewhere := start(t, controlplane.Config{})
	foreign, _, _ := newKubeconfig(t, elsewhere, 0)
	node, err := server.NodeKubeconfig("n1")
	if err != nil {
		t.Fatal(err)
	}
	for want, file := range map[string][]byte{
		"not of this control plane": foreign,
		"use RevokeNode":            node,
		"use RevokeJoinKubeconfig":  joinKubeconfig(t, server, time.Hour),
		"not a kubeconfig file":     []byte("nonsense"),
		"no current context":        []byte("{}"),
	} {
		if err := server.RevokeKubeconfig(t.Context(), file); err == nil || lacks(err.Error(), "controlplane: revoke kubeconfig: ", want) != "" {
			t.Errorf("%v, want %q", err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file, config, _ := newKubeconfig(t, server, 0)
	if err := server.RevokeKubeconfig(ctx, file); err == nil {
		t.Error("RevokeKubeconfig with an ended ctx: got no error, want one")
	}
	mayList(t, "a kubeconfig that is not revoked", clientFor(t, config))
}

func TestKubeconfigLifetime(t *testing.T) {
	server := start(t, controlplane.Config{})
	_, config, certificate := newKubeconfig(t, server, time.Hour)
	if left := time.Until(certificate.NotAfter); left > time.Hour || left < 50*time.Minute {
		t.Errorf("validity: got %s, want 50 minutes to an hour", left)
	}
	mayList(t, "an hour", clientFor(t, config))
	_, _, certificate = newKubeconfig(t, server, 0)
	if left := time.Until(certificate.NotAfter); left < 360*24*time.Hour {
		t.Errorf("validity by default: got %s, want at least 360 days", left)
	}
	for want, options := range map[string]controlplane.KubeconfigOptions{
		"Lifetime must not be negative": {User: "jane", Lifetime: -time.Second},
		"user must not be empty":        {},
		"group must not be empty":       {User: "jane", Groups: []string{""}},
	} {
		if _, err := server.NewKubeconfig(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", options, err, want)
		}
	}
}

// TestNoKubeconfigOfAStoppedControlPlane: a stopped control plane once returned useless
// kubeconfigs.
func TestNoKubeconfigOfAStoppedControlPlane(t *testing.T) {
	server := start(t, controlplane.Config{})
	file, _, _ := newKubeconfig(t, server, 0)
	closeServer(t, server)
	for name, call := range map[string]func() error{
		"Kubeconfig":       func() error { _, err := server.Kubeconfig("jane"); return err },
		"NewKubeconfig":    func() error { _, err := server.NewKubeconfig(controlplane.KubeconfigOptions{User: "jane"}); return err },
		"NodeKubeconfig":   func() error { _, err := server.NodeKubeconfig("n1"); return err },
		"JoinKubeconfig":   func() error { _, err := server.JoinKubeconfig(t.Context(), 0); return err },
		"RevokeKubeconfig": func() error { return server.RevokeKubeconfig(t.Context(), file) },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "the control plane is stopped") {
			t.Errorf("%s: got %v, want that the control plane is stopped", name, err)
		}
	}
}

// TestChangedServiceCIDR: Services once kept addresses of the old range, and new Services
// got addresses of it too.
func TestChangedServiceCIDR(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir, ServiceCIDR: "10.1.0.0/24"})
	closeServer(t, server)
	for _, other := range []string{"", "10.1.0.0/16", "fd00::/112"} {
		_ = wantStartFails(t, controlplane.Config{DataDir: dir, ServiceCIDR: other}, "Config.ServiceCIDR", "10.1.0.0/24", "set it to that")
	}
	testwait.Until(t, "a start after the Services have moved", func(ctx context.Context) (err error) {
		// The same range in another notation.
		server = start(t, controlplane.Config{DataDir: dir, ServiceCIDR: "10.1.0.9/24"})
		// An administrator moves the Services, as upstream describes. Upstream's
		// controller creates the object again if it has not yet looked twice after the
		// start.
		if err := admin(t, server).NetworkingV1().ServiceCIDRs().Delete(ctx, "kubernetes", metav1.DeleteOptions{}); err != nil {
			return err
		}
		closeServer(t, server)
		server, err = controlplane.Start(ctx, controlplane.Config{DataDir: dir, ServiceCIDR: "10.2.0.0/24"})
		return err
	})
	t.Cleanup(func() { _ = server.Close() })
	if _, err := admin(t, server).CoreV1().Services("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

// TestChangedPrefix: the objects once seemed to be lost.
func TestChangedPrefix(t *testing.T) {
	dir := t.TempDir()
	server := start(t, controlplane.Config{DataDir: dir})
	putConfigMap(t, admin(t, server), "kept", "x")
	closeServer(t, server)
	cfg := controlplane.Config{DataDir: dir, Etcd: controlplane.Etcd{Prefix: "/other"}}
	_ = wantStartFails(t, cfg, "Config.Etcd.Prefix is /other", "below /registry", "Config.NewCluster")
	cfg.NewCluster = true
	closeServer(t, start(t, cfg))
	cfg.NewCluster = false
	server = start(t, cfg)
	if _, err := admin(t, server).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err == nil {
		t.Error("an object below the other prefix: got it, want an error")
	}
}
