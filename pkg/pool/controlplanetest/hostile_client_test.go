// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"sync"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

// lasting are clients that go on until endLasting.
var lasting struct {
	sync.WaitGroup
	stop   []context.CancelFunc
	mu     sync.Mutex
	faults []string
}

func endLasting(t *testing.T) {
	t.Helper()
	for _, stop := range lasting.stop {
		stop()
	}
	lasting.Wait()
	for _, fault := range lasting.faults {
		t.Error(fault)
	}
}

// administrator returns the client configuration of a test without the fixture's guard.
func administrator(cp *controlplanetest.ControlPlane) *rest.Config {
	config := cp.ClientConfig()
	config.WrapTransport, config.QPS = nil, -1
	return config
}

// hostileClients are tests whose clients go on.
var hostileClients = map[string]func(t *testing.T, cp *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config{
	"clients that write for ever": func(t *testing.T, cp *controlplanetest.ControlPlane, _ kubernetes.Interface) []*rest.Config {
		ctx, cancel := context.WithCancel(context.Background())
		lasting.stop = append(lasting.stop, cancel)
		client := kubernetes.NewForConfigOrDie(administrator(cp))
		written := make(chan struct{}, 1000)
		for w := range 8 {
			lasting.Add(1)
			go func() {
				defer lasting.Done()
				for i := 0; ctx.Err() == nil; i++ {
					object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("intruder-", w, "-", i)}}
					_, err := client.CoreV1().ConfigMaps("default").Create(ctx, object, metav1.CreateOptions{})
					select {
					case written <- struct{}{}:
					default:
					}
					if err != nil { // the lease has ended: as fast as a retry of a manager
						select {
						case <-time.After(5 * time.Millisecond):
						case <-ctx.Done():
						}
					}
				}
			}()
		}
		for range 50 {
			<-written
		}
		return nil
	},
	"open watches": func(t *testing.T, cp *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		ctx, cancel := context.WithCancel(context.Background())
		lasting.stop = append(lasting.stop, cancel)
		unguarded := kubernetes.NewForConfigOrDie(administrator(cp))
		for range 50 {
			opened := must(unguarded.CoreV1().ConfigMaps("").Watch(ctx, metav1.ListOptions{}))(t)
			lasting.Add(1)
			go func() {
				defer lasting.Done()
				seen := 0
				for event := range opened.ResultChan() {
					if object, ok := event.Object.(*corev1.ConfigMap); ok && object.Name == "works" {
						seen++
					}
				}
				if seen > 1 { // the second one is of the next test, or of the reset
					lasting.mu.Lock()
					defer lasting.mu.Unlock()
					lasting.faults = append(lasting.faults, fmt.Sprintf("a watch of a former test has seen %d events", seen))
				}
			}()
		}
		must(client.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "pod"}, Spec: corev1.PodSpec{NodeName: "none", Containers: []corev1.Container{{Name: "c", Image: "image"}}},
		}, metav1.CreateOptions{}))(t)
		return nil
	},
	"bootstrap token": func(t *testing.T, cp *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		must(client.CoreV1().Secrets("kube-system").Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}, Type: corev1.SecretTypeBootstrapToken,
			StringData: map[string]string{"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"},
		}, metav1.CreateOptions{}))(t)
		return []*rest.Config{withToken(cp, "abcdef.0123456789abcdef")}
	},
	"token of a Secret": func(t *testing.T, cp *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}}, Type: corev1.SecretTypeServiceAccountToken,
		}
		must(client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}))(t)
		for len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
			secret = must(client.CoreV1().Secrets("default").Get(t.Context(), "token", metav1.GetOptions{}))(t)
		}
		return []*rest.Config{withToken(cp, string(secret.Data[corev1.ServiceAccountTokenKey]))}
	},
	"signed certificate": func(t *testing.T, cp *controlplanetest.ControlPlane, client kubernetes.Interface) []*rest.Config {
		key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
		request := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "intruder"}}, key))(t)
		csr := must(client.CertificatesV1().CertificateSigningRequests().Create(t.Context(), &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: "intruder"},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}), SignerName: certificatesv1.KubeAPIServerClientSignerName,
				Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
			},
		}, metav1.CreateOptions{}))(t)
		csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"}}
		must(client.CertificatesV1().CertificateSigningRequests().UpdateApproval(t.Context(), csr.Name, csr, metav1.UpdateOptions{}))(t)
		for len(csr.Status.Certificate) == 0 {
			csr = must(client.CertificatesV1().CertificateSigningRequests().Get(t.Context(), csr.Name, metav1.GetOptions{}))(t)
		}
		config := withToken(cp, "")
		config.CertData = csr.Status.Certificate
		config.KeyData = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(key))(t)})
		return []*rest.Config{config}
	},
}

func withToken(cp *controlplanetest.ControlPlane, token string) *rest.Config {
	return &rest.Config{Host: cp.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: cp.CABundle()}, BearerToken: token}
}
