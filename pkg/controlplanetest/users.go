// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// tokenLifetime is the lifetime of a service account's token in seconds. No test runs
// longer.
const tokenLifetime = int64(24 * time.Hour / time.Second)

// UserConfig returns a client configuration for a user in groups. RBAC decides what the
// user may do: nothing at first, unless a group is system:masters. The client connects
// over TLS with its own client certificate and has no rate limit. Like ClientConfig's,
// its requests end with the test.
func (cp *ControlPlane) UserConfig(t TB, user string, groups ...string) *rest.Config {
	t.Helper()
	cp.requireLive(t)
	data, err := cp.Kubeconfig(user, groups...)
	if err != nil {
		t.Fatalf("controlplanetest: UserConfig for %q: %v", user, err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatalf("controlplanetest: UserConfig for %q: %v", user, err)
	}
	config.QPS = -1
	return cp.guard(config)
}

// ImpersonatedConfig returns ClientConfig with impersonation: its requests count as those
// of a user in groups. It needs no connection and no certificate, so it is the cheapest
// way to act as another user. Set a UID and extra values in the result's Impersonate
// field.
func (cp *ControlPlane) ImpersonatedConfig(user string, groups ...string) *rest.Config {
	config := cp.ClientConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return config
}

// ServiceAccountConfig returns a client configuration for a service account, which is
// created if missing. The namespace must exist. The client connects over TLS with a
// token that is valid for a day, and has no rate limit. Like ClientConfig's, its
// requests end with the test.
func (cp *ControlPlane) ServiceAccountConfig(t TB, namespace, name string) *rest.Config {
	t.Helper()
	cp.requireLive(t)
	token, err := cp.serviceAccountToken(namespace, name)
	if err != nil {
		t.Fatalf("controlplanetest: ServiceAccountConfig for %s/%s: %v", namespace, name, err)
	}
	return cp.guard(&rest.Config{
		Host:            cp.URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: cp.CABundle()},
		BearerToken:     token,
		QPS:             -1,
	})
}

func (cp *ControlPlane) serviceAccountToken(namespace, name string) (string, error) {
	client, err := cp.client()
	if err != nil {
		return "", err
	}
	accounts := client.CoreV1().ServiceAccounts(namespace)
	_, err = accounts.Get(cp.ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err = accounts.Create(cp.ctx, account, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("create the service account: %w", err)
	}
	lifetime := tokenLifetime
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}
	request, err = accounts.CreateToken(cp.ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("create a token: %w", err)
	}
	return request.Status.Token, nil
}

// KubeconfigFile returns the path of a kubeconfig for a user in groups, for another
// program such as kubectl. The program connects over TLS. The file is removed at the
// end of the test. KubeconfigFile(t, "admin", "system:masters") may do everything.
func (cp *ControlPlane) KubeconfigFile(t TB, user string, groups ...string) string {
	t.Helper()
	cp.requireLive(t)
	path, err := cp.writeKubeconfig(t.TempDir(), user, groups...)
	if err != nil {
		t.Fatalf("controlplanetest: KubeconfigFile for %q: %v", user, err)
	}
	return path
}
