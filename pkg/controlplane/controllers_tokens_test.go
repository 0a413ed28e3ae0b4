// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/jws"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// bootstrapSecret is a bootstrap token of upstream's form.
func bootstrapSecret(id string, expiration time.Time) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: bootstrapapi.BootstrapTokenSecretPrefix + id, Namespace: metav1.NamespaceSystem},
		Type:       bootstrapapi.SecretTypeBootstrapToken,
		StringData: map[string]string{
			bootstrapapi.BootstrapTokenIDKey:           id,
			bootstrapapi.BootstrapTokenSecretKey:       "0123456789abcdef",
			bootstrapapi.BootstrapTokenExpirationKey:   expiration.UTC().Format(time.RFC3339),
			bootstrapapi.BootstrapTokenUsageSigningKey: "true",
		},
	}
}

// TestBootstrapTokens are upstream's token cleaner and bootstrap signer.
func TestBootstrapTokens(t *testing.T) {
	server := start(t, controlplane.Config{})
	client := admin(t, server)
	secrets := client.CoreV1().Secrets(metav1.NamespaceSystem)
	infos := client.CoreV1().ConfigMaps(metav1.NamespacePublic)

	for _, secret := range []*corev1.Secret{bootstrapSecret("fresh0", time.Now().Add(time.Hour)), bootstrapSecret("stale0", time.Now().Add(-time.Hour))} {
		if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	info := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: bootstrapapi.ConfigMapClusterInfo}, Data: map[string]string{bootstrapapi.KubeConfigKey: "the kubeconfig"}}
	if _, err := infos.Create(t.Context(), info, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last error
	if err := lifecycle.Poll(ctx, func() bool {
		_, last = secrets.Get(t.Context(), "bootstrap-token-stale0", metav1.GetOptions{})
		return last != nil
	}); err != nil || !apierrors.IsNotFound(last) {
		t.Errorf("the expired token: got %v, %v, want not found", err, last)
	}
	var data map[string]string
	err := lifecycle.Poll(ctx, func() bool {
		info, err := infos.Get(t.Context(), bootstrapapi.ConfigMapClusterInfo, metav1.GetOptions{})
		if err != nil {
			return false
		}
		data = info.Data
		return data[bootstrapapi.JWSSignatureKeyPrefix+"fresh0"] != ""
	})
	if err != nil {
		t.Fatalf("cluster-info: got %v, %v, want it signed", err, data)
	}
	if !jws.DetachedTokenIsValid(data[bootstrapapi.JWSSignatureKeyPrefix+"fresh0"], "the kubeconfig", "fresh0", "0123456789abcdef") {
		t.Errorf("cluster-info: got %v, want a signature by token fresh0", data)
	}
	if _, err := secrets.Get(t.Context(), "bootstrap-token-fresh0", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// TestCertificateControllersWithout: controllers do not wait for resources that are not
// served, and log nothing.
func TestCertificateControllersWithout(t *testing.T) {
	for _, off := range []string{"certificates.k8s.io/v1", "authorization.k8s.io/v1", "rbac.authorization.k8s.io/v1"} {
		t.Run(strings.ReplaceAll(off, "/", " "), func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			server := start(t, controlplane.Config{RuntimeConfig: map[string]string{off: "false"}, Logger: zap.New(core)})
			if off == "certificates.k8s.io/v1" {
				testwait.Until(t, "the component", func(context.Context) error {
					if runs("internal/certificates.(*Controllers).Run") {
						return nil
					}
					return errors.New("does not run")
				})
				if runs(certificateControllers) {
					t.Error("controllers run without their resources")
				}
			} else {
				kubelet := asNode(t, server, "n1")
				register(t, kubelet, "n1")
				wantSigned(t, server, servingCSR("n1").create(t, kubelet), x509.ExtKeyUsageServerAuth)
				if !runs(certificateControllers) {
					t.Error("controllers are not found among the goroutines")
				}
			}
			closeServer(t, server)
			if runs(certificateControllers) {
				t.Error("controllers run after Close")
			}
			for _, entry := range logs.All() {
				source := fmt.Sprint(entry.ContextMap()["source"])
				if entry.LoggerName == "certificates" || strings.HasPrefix(source, "certificate_controller.go:") {
					t.Errorf("log: got %s %v, want nothing of the certificate controllers", entry.Message, entry.ContextMap())
				}
			}
		})
	}
}

// certificateControllers is on the stacks of running controllers.
const certificateControllers = "internal/certificates.(*Controllers).run"

// runs reports whether name is on a stack of this process.
func runs(name string) bool {
	var stacks bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
	return strings.Contains(stacks.String(), name)
}
