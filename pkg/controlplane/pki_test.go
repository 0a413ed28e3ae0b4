// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/files"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/pki"
)

// listPods sends a request that needs an authorized user.
func listPods(t *testing.T, client kubernetes.Interface) error {
	t.Helper()
	_, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	return err
}

// TestSharedPKI: a client of one control plane can use another one with its PKI and
// objects, but not one with only its objects.
func TestSharedPKI(t *testing.T) {
	firstDir := t.TempDir()
	first := start(t, controlplane.Config{DataDir: firstDir})
	kubeconfig, err := first.Kubeconfig("jane", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	token, err := admin(t, first).CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	shared, err := first.PKI()
	if err != nil {
		t.Fatal(err)
	}
	closeServer(t, first)

	for name, bundle := range map[string][]byte{"with the PKI": shared, "without": nil} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "etcd"), os.DirFS(filepath.Join(firstDir, "etcd"))); err != nil {
				t.Fatal(err)
			}
			second := start(t, controlplane.Config{DataDir: dir, PKI: bundle, NewCluster: bundle == nil})
			byCert := fromKubeconfig(t, kubeconfig)
			byCert.Host = second.URL()
			byToken := clientFor(t, &rest.Config{Host: second.URL(), BearerToken: token.Status.Token,
				TLSClientConfig: rest.TLSClientConfig{CAData: second.CABundle()}})
			_, err := byToken.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
			if bundle == nil {
				wantStatus(t, "token", err, 401)
				if err := listPods(t, clientFor(t, byCert)); err == nil || !strings.Contains(err.Error(), "x509") {
					t.Errorf("certificate: got %v, want an x509 error", err)
				}
				return
			}
			if err != nil {
				t.Errorf("token: %v", err)
			}
			if err := listPods(t, clientFor(t, byCert)); err != nil {
				t.Errorf("certificate: %v", err)
			}
			if again, err := second.PKI(); err != nil || !bytes.Equal(again, bundle) {
				t.Errorf("got another PKI, %v, want the same", err)
			}
		})
	}
}

func TestPKIThatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	first := start(t, controlplane.Config{DataDir: dir})
	other := start(t, controlplane.Config{})
	closeServer(t, first)
	bundle, err := other.PKI()
	if err != nil {
		t.Fatal(err)
	}
	_, err = controlplane.Start(t.Context(), controlplane.Config{DataDir: dir, PKI: bundle})
	if !errors.Is(err, pki.ErrOtherCA) || !strings.Contains(err.Error(), "leave Config.PKI empty") || !strings.Contains(err.Error(), "Config.DataDir has its own") {
		t.Errorf("another's: got %v, want ErrOtherCA with both cures", err)
	}
	_, err = controlplane.Start(t.Context(), controlplane.Config{DataDir: dir, PKI: bundle[:len(bundle)/2]})
	if err == nil || !strings.Contains(err.Error(), "PKI: Invalid value: must be what Server.PKI has returned") {
		t.Errorf("half: got %v, want that PKI is invalid", err)
	}
	start(t, controlplane.Config{DataDir: dir})
}

// TestCARotation follows the description in package pki.
func TestCARotation(t *testing.T) {
	dir := t.TempDir()
	directory := filepath.Join(dir, "pki")
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	write := func(name string, data []byte) {
		if err := files.WriteAtomic(filepath.Join(directory, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	made := t.TempDir()
	if _, err := pki.Open(pki.Config{Dir: made}); err != nil {
		t.Fatal(err)
	}
	newCert, newKey := read(filepath.Join(made, "ca.crt")), read(filepath.Join(made, "ca.key"))

	var server *controlplane.Server
	kubeconfig := func(user string) *rest.Config {
		data, err := server.Kubeconfig(user, "system:masters")
		if err != nil {
			t.Fatal(err)
		}
		return fromKubeconfig(t, data)
	}
	works := func(step, what string, config *rest.Config) {
		t.Helper()
		config.Host = server.URL()
		if err := listPods(t, clientFor(t, config)); err != nil {
			t.Errorf("%s: %s: %v", step, what, err)
		}
	}
	restart := func() {
		t.Helper()
		closeServer(t, server)
		server = start(t, controlplane.Config{DataDir: dir})
	}
	server = start(t, controlplane.Config{DataDir: dir})
	oldCert := read(filepath.Join(directory, "ca.crt"))
	before := kubeconfig("before")
	works("at first", "a kubeconfig", before)

	write("ca.crt", append(bytes.Clone(oldCert), newCert...))
	restart()
	works("both trusted", "a kubeconfig from before", before)
	between := kubeconfig("between")
	works("both trusted", "a new kubeconfig", between)
	testwait.Until(t, "kube-root-ca.crt", func(context.Context) error {
		configMap, err := admin(t, server).CoreV1().ConfigMaps("default").Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil || !strings.Contains(configMap.Data["ca.crt"], string(newCert)) {
			return errors.New("does not have the new authority")
		}
		return nil
	})
	before.CAData = server.CABundle()

	// The key first: a start between the two writes reports that they do not match.
	write("ca.key", newKey)
	write("ca.crt", append(bytes.Clone(newCert), oldCert...))
	restart()
	works("the new one signs", "a kubeconfig from before, with the new authority added", before)
	works("the new one signs", "a kubeconfig from when both were trusted", between)
	after := kubeconfig("after")
	works("the new one signs", "a new kubeconfig", after)

	write("ca.crt", newCert)
	restart()
	works("the old one is gone", "a kubeconfig of the new one", after)
	for name, config := range map[string]*rest.Config{"before": before, "between": between} {
		config.Host = server.URL()
		wantStatus(t, "a kubeconfig from "+name, listPods(t, clientFor(t, config)), 401)
	}
}
