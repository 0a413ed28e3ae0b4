// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/internal/join"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

func joinKubeconfig(t testing.TB, server *controlplane.Server, lifetime time.Duration) []byte {
	t.Helper()
	kubeconfig, err := server.JoinKubeconfig(t.Context(), lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// joinUser is the user of a join file, and its token.
func joinUser(t testing.TB, kubeconfig []byte) (name, token string) {
	t.Helper()
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for name, user := range cfg.AuthInfos {
		return name, user.Token
	}
	t.Fatalf("no user in %s", kubeconfig)
	return "", ""
}

// tokens are the names of the bootstrap tokens of a control plane.
func tokens(t testing.TB, server *controlplane.Server) (names []string) {
	t.Helper()
	list, err := admin(t, server).CoreV1().Secrets(metav1.NamespaceSystem).List(t.Context(), metav1.ListOptions{FieldSelector: "type=bootstrap.kubernetes.io/token"})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range list.Items {
		names = append(names, secret.Name)
	}
	return names
}

// newRequest is a certificate request that nobody signs.
func newRequest(t testing.TB, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "somebody"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: "example.com/nobody",
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
	}
}

func canRequest(ctx context.Context, t testing.TB, client kubernetes.Interface, name string) error {
	t.Helper()
	requests := client.CertificatesV1().CertificateSigningRequests()
	if _, err := requests.Create(ctx, newRequest(t, name), metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := requests.Get(ctx, name, metav1.GetOptions{})
	return err
}

func TestJoinKubeconfig(t *testing.T) {
	server := start(t, controlplane.Config{})
	before := time.Now()
	kubeconfig := joinKubeconfig(t, server, 0)
	after := time.Now()

	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	name, token := joinUser(t, kubeconfig)
	if !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{26,64}$`).MatchString(token) {
		t.Error("the token does not have the form of one with 128 bits")
	}
	if len(cfg.AuthInfos) != 1 || len(cfg.Clusters) != 1 || len(cfg.Contexts) != 1 ||
		cfg.Contexts[cfg.CurrentContext].AuthInfo != name || name != "bootstrap-token-"+token[:6] {
		t.Errorf("names in the file: got %v and user %s, want one of each and the user of the token", cfg.Contexts, name)
	}
	cluster := cfg.Clusters[cfg.Contexts[cfg.CurrentContext].Cluster]
	if cluster.Server != server.URL() || string(cluster.CertificateAuthorityData) != string(server.CABundle()) || len(cfg.AuthInfos[name].ClientKeyData) > 0 {
		t.Errorf("cluster: got %+v, want %s with the CA and no client key", cluster, server.URL())
	}

	secret, err := admin(t, server).CoreV1().Secrets("kube-system").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expiration, err := time.Parse(time.RFC3339, string(secret.Data["expiration"]))
	if err != nil || expiration.Before(before.Add(24*time.Hour)) || expiration.After(after.Add(24*time.Hour+time.Second)) {
		t.Errorf("expiration: got %s, %v, want 24 hours from now", secret.Data["expiration"], err)
	}
	if secret.Type != "bootstrap.kubernetes.io/token" || string(secret.Data["token-id"])+"."+string(secret.Data["token-secret"]) != token || len(secret.Data["description"]) == 0 {
		t.Errorf("Secret: got type %s and %d values, want a described bootstrap token, that of the file", secret.Type, len(secret.Data))
	}

	client := clientFor(t, fromKubeconfig(t, kubeconfig))
	wantUser(t, client, "system:bootstrap:"+token[:6], "system:bootstrappers")
	wantUser(t, client, "system:bootstrap:"+token[:6], join.Group)
	if err := canRequest(t.Context(), t, client, "of-a-worker"); err != nil {
		t.Error(err)
	}
	t.Run("and nothing else", func(t *testing.T) { wantNothingElse(t, client, name) })
}

// wantNothingElse tries the requests of a thief of a join file.
func wantNothingElse(t *testing.T, client kubernetes.Interface, ownSecret string) {
	ctx := t.Context()
	errs := map[string]error{}
	_, errs["read its own token"] = client.CoreV1().Secrets("kube-system").Get(ctx, ownSecret, metav1.GetOptions{})
	errs["delete its own token"] = client.CoreV1().Secrets("kube-system").Delete(ctx, ownSecret, metav1.DeleteOptions{})
	_, errs["list secrets"] = client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
	_, errs["create a secret"] = client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
	_, errs["list pods"] = client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	_, errs["create a pod"] = client.CoreV1().Pods("default").Create(ctx, newPod("p"), metav1.CreateOptions{})
	_, errs["list nodes"] = client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	_, errs["create a node"] = client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	_, errs["read a config map"] = client.CoreV1().ConfigMaps("kube-system").Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
	_, errs["list services"] = client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	_, errs["list leases"] = client.CoordinationV1().Leases("").List(ctx, metav1.ListOptions{})
	_, errs["read roles"] = client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
	_, errs["review a token"] = client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{}, metav1.CreateOptions{})
	request, err := client.CertificatesV1().CertificateSigningRequests().Get(ctx, "of-a-worker", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	request.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Mine"}}
	_, errs["approve its request"] = client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, request.Name, request, metav1.UpdateOptions{})
	_, errs["sign its request"] = client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, request, metav1.UpdateOptions{})
	errs["delete its request"] = client.CertificatesV1().CertificateSigningRequests().Delete(ctx, request.Name, metav1.DeleteOptions{})
	errs["read metrics"] = client.CoreV1().RESTClient().Get().AbsPath("/metrics").Do(ctx).Error()
	for what, err := range errs {
		wantStatus(t, what, err, http.StatusForbidden)
	}
	review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "*", Group: "*", Resource: "*"}},
	}, metav1.CreateOptions{})
	if err != nil || review.Status.Allowed {
		t.Errorf("permission for everything: got %v, %v, want none", review, err)
	}
}

func TestJoinKubeconfigLifetime(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	server := start(t, controlplane.Config{Logger: zap.New(core)})
	if _, err := server.JoinKubeconfig(t.Context(), -time.Second); err == nil || !strings.Contains(err.Error(), "must not be negative") {
		t.Errorf("a negative lifetime: got %v, want that it must not be negative", err)
	}
	if names := tokens(t, server); len(names) > 0 {
		t.Errorf("tokens: got %q, want none", names)
	}
	const tenYears = 10 * 365 * 24 * time.Hour
	client := clientFor(t, fromKubeconfig(t, joinKubeconfig(t, server, tenYears)))
	if err := canRequest(t.Context(), t, client, "much-later"); err != nil {
		t.Error(err)
	}

	kubeconfig := joinKubeconfig(t, server, time.Nanosecond)
	_, token := joinUser(t, kubeconfig)
	client = clientFor(t, fromKubeconfig(t, kubeconfig))
	wantLogged(t, logs, token, func() error {
		_, err := client.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
		return err
	})
	_, err := client.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	wantStatus(t, "an expired token", err, http.StatusUnauthorized)
	// Its Secret may be there, or cleaned up.
	if err := server.RevokeJoinKubeconfig(t.Context(), kubeconfig); err != nil {
		t.Error(err)
	}
}

// wantLogged tries until the log reports the refused token, with its ID and without its
// secret.
func wantLogged(t *testing.T, logs *observer.ObservedLogs, token string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for len(logs.FilterField(zap.String("token-id", token[:6])).All()) == 0 {
		select {
		case <-ctx.Done():
			t.Fatalf("the log does not report the refused token; the last response was %v", try())
		case <-again.C:
			_ = try()
		}
	}
	for _, entry := range logs.All() {
		if line := entry.Message + fmt.Sprint(entry.ContextMap()); strings.Contains(line, token[7:]) {
			t.Errorf("log: got the secret in %s, want it nowhere", line)
		}
	}
}

func TestRevokeJoinKubeconfig(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	server := start(t, controlplane.Config{Logger: zap.New(core)})
	ctx := t.Context()
	kubeconfig, kept := joinKubeconfig(t, server, time.Hour), joinKubeconfig(t, server, time.Hour)
	client := clientFor(t, fromKubeconfig(t, kubeconfig))
	if err := canRequest(ctx, t, client, "before"); err != nil {
		t.Fatal(err)
	}
	if err := server.RevokeJoinKubeconfig(ctx, kubeconfig); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "the request after", canRequest(ctx, t, client, "after"), http.StatusUnauthorized)
	if err := server.RevokeJoinKubeconfig(ctx, kubeconfig); err != nil {
		t.Errorf("revoked twice: %v", err)
	}
	_, token := joinUser(t, kubeconfig)
	wantLogged(t, logs, token, func() error { return canRequest(ctx, t, client, "logged") })
	if err := canRequest(ctx, t, clientFor(t, fromKubeconfig(t, kept)), "kept"); err != nil {
		t.Errorf("the other file: %v", err)
	}

	// Like kubectl delete secret in the doc of JoinKubeconfig.
	name, _ := joinUser(t, kept)
	if err := admin(t, server).CoreV1().Secrets("kube-system").Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "the request after", canRequest(ctx, t, clientFor(t, fromKubeconfig(t, kept)), "deleted"), http.StatusUnauthorized)
}

func TestRevokeWhatIsNoJoinKubeconfig(t *testing.T) {
	server, other := start(t, controlplane.Config{}), start(t, controlplane.Config{})
	ctx := t.Context()
	kubeconfig := joinKubeconfig(t, server, time.Hour)
	changed := func(change func(*clientcmdapi.Config)) []byte {
		cfg, err := clientcmd.Load(kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		change(cfg)
		data, err := clientcmd.Write(*cfg)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	user, token := joinUser(t, kubeconfig)
	admins, err := server.Kubeconfig("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		kubeconfig []byte
		want       string
	}{
		"not YAML":         {[]byte("{"), "not a kubeconfig"},
		"empty":            {nil, "no current context"},
		"of somebody else": {admins, "no bootstrap token"},
		"of another plane": {joinKubeconfig(t, other, time.Hour), "belongs to another control plane"},
		"without user":     {changed(func(c *clientcmdapi.Config) { c.AuthInfos = nil }), "no user"},
		"short token":      {changed(func(c *clientcmdapi.Config) { c.AuthInfos[user].Token = token[:10] }), "no bootstrap token"},
		"cut token":        {changed(func(c *clientcmdapi.Config) { c.AuthInfos[user].Token = token[:len(token)-1] }), "another token"},
	} {
		if err := server.RevokeJoinKubeconfig(ctx, test.kubeconfig); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), token[7:]) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if names := tokens(t, server); !slices.Equal(names, []string{user}) {
		t.Errorf("tokens %q, want that of %s", names, user)
	}

	// Another Secret replaces it.
	secrets := admin(t, server).CoreV1().Secrets("kube-system")
	if err := secrets.Delete(ctx, user, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: user}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := server.RevokeJoinKubeconfig(ctx, kubeconfig); err == nil || !strings.Contains(err.Error(), "not a bootstrap token") {
		t.Errorf(`an Opaque Secret: got %v, want "not a bootstrap token"`, err)
	}
	if _, err := secrets.Get(ctx, user, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestManyJoinKubeconfigs(t *testing.T) {
	server := start(t, controlplane.Config{})
	files := make([][]byte, 60)
	var group sync.WaitGroup
	for i := range files {
		group.Go(func() {
			var err error
			if files[i], err = server.JoinKubeconfig(t.Context(), time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	secrets := map[string]bool{}
	for _, file := range files {
		name, token := joinUser(t, file)
		secrets[token[7:]] = true
		if err := canRequest(t.Context(), t, clientFor(t, fromKubeconfig(t, file)), name); err != nil {
			t.Error(err)
		}
	}
	for _, file := range files[:len(files)/2] {
		for range 2 { // each of them, at the same time as others
			group.Go(func() {
				if err := server.RevokeJoinKubeconfig(t.Context(), file); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	if left := len(tokens(t, server)); len(secrets) != len(files) || left != len(files)/2 {
		t.Errorf("got %d secrets of %d files and %d tokens left, want one secret a file and half of the tokens", len(secrets), len(files), left)
	}
}

// TestJoinKubeconfigLeavesNothing: whenever the context ends, each token has a file.
func TestJoinKubeconfigLeavesNothing(t *testing.T) {
	server := start(t, controlplane.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := server.JoinKubeconfig(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v, want context.Canceled", err)
	}
	files := 0
	for i := range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
		if _, err := server.JoinKubeconfig(ctx, 0); err == nil {
			files++
		}
		cancel()
	}
	if names := tokens(t, server); len(names) != files {
		t.Errorf("tokens: got %d, want one for each of %d files", len(names), files)
	}
}

func TestJoinKubeconfigNeedsItsResources(t *testing.T) {
	for off, want := range map[string]string{
		"certificates.k8s.io/v1":       "certificatesigningrequests of certificates.k8s.io/v1 are not served",
		"rbac.authorization.k8s.io/v1": "clusterrolebindings of rbac.authorization.k8s.io/v1 are not served",
	} {
		t.Run(off, func(t *testing.T) {
			server := start(t, controlplane.Config{RuntimeConfig: map[string]string{off: "false"}})
			_, err := server.JoinKubeconfig(t.Context(), 0)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Config.RuntimeConfig") {
				t.Errorf("got %v, want %q and Config.RuntimeConfig", err, want)
			}
			if names := tokens(t, server); len(names) > 0 {
				t.Errorf("tokens: got %q, want none", names)
			}
		})
	}
}

func TestJoinKubeconfigAfterTheEnd(t *testing.T) {
	server := start(t, controlplane.Config{})
	kubeconfig := joinKubeconfig(t, server, 0)
	closeServer(t, server)
	if _, err := server.JoinKubeconfig(t.Context(), 0); err == nil || err.Error() != "controlplane: join kubeconfig: the control plane is stopped" {
		t.Errorf("join: got %v, want that the control plane is stopped", err)
	}
	if err := server.RevokeJoinKubeconfig(t.Context(), kubeconfig); err == nil || err.Error() != "controlplane: revoke join kubeconfig: the control plane is stopped" {
		t.Errorf("revoke: got %v, want that the control plane is stopped", err)
	}
}

// TestJoinKubeconfigAfterARestart: a join file and its permissions survive a restart,
// which adds missing bindings.
func TestJoinKubeconfigAfterARestart(t *testing.T) {
	cfg := controlplane.Config{DataDir: t.TempDir()}
	server := start(t, cfg)
	kubeconfig := joinKubeconfig(t, server, 0)
	for _, name := range []string{"kubembed:kubelet-bootstrap", "kubembed:node-certificate-rotation", "kubembed:kubelet-api-admin"} {
		if err := admin(t, server).RbacV1().ClusterRoleBindings().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	closeServer(t, server)

	server = start(t, cfg)
	for _, name := range []string{"kubembed:kubelet-bootstrap", "kubembed:node-certificate-rotation", "kubembed:kubelet-api-admin"} {
		if _, err := admin(t, server).RbacV1().ClusterRoleBindings().Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	config := fromKubeconfig(t, kubeconfig)
	config.Host = server.URL() // the port was a free one
	if err := canRequest(t.Context(), t, clientFor(t, config), "after-the-restart"); err != nil {
		t.Error(err)
	}
	if err := server.RevokeJoinKubeconfig(t.Context(), kubeconfig); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "revoked", canRequest(t.Context(), t, clientFor(t, config), "revoked"), http.StatusUnauthorized)
}
