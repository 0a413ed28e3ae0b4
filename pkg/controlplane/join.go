// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/join"
	"github.com/kubembed/kubembed/pkg/pki"
)

const (
	// defaultJoinLifetime is kubeadm's default.
	defaultJoinLifetime = 24 * time.Hour
	// joinTokenTries is the number of tries for an unused ID. There are 2³⁰.
	joinTokenTries = 5
	// joinWriteTimeout bounds the write of a token, and its deletion after an error. Both
	// take milliseconds.
	joinWriteTimeout = 10 * time.Second
)

// JoinKubeconfig returns a kubeconfig for kubelet's --bootstrap-kubeconfig. Any number of
// workers can join with it until lifetime has passed or the file is revoked. If lifetime
// is zero, it is 24 hours. It is rounded up to a full second and has no maximum. It must
// not be negative.
//
// A kubelet uses the file to request its own client certificate for the name of its node.
// The name then belongs to the kubelet's key. No other key gets it until the Node was
// created and deleted again, or the certificate has expired. The request is refused if
// the Node already exists: delete the Node first. With serverTLSBootstrap in its
// configuration the kubelet also gets a serving certificate. It renews both.
//
// The file holds URL, CABundle and a bootstrap token with 128 random bits. The token's
// group may create CertificateSigningRequests and read them by name, and nothing else.
// But anybody with the file can add nodes, also under the name of a future machine: keep
// it secret. The token is stored in a Secret in kube-system with the name of the file's
// user. To revoke it, use RevokeJoinKubeconfig or kubectl -n kube-system delete secret
// bootstrap-token-<id>.
//
// It fails if Config.RuntimeConfig has switched off certificates.k8s.io/v1 or
// rbac.authorization.k8s.io/v1, and after Shutdown. After an error no token is left.
func (s *Server) JoinKubeconfig(ctx context.Context, lifetime time.Duration) ([]byte, error) {
	data, err := s.joinKubeconfig(ctx, lifetime)
	if err != nil {
		return nil, fmt.Errorf("controlplane: join kubeconfig: %w", err)
	}
	return data, nil
}

func (s *Server) joinKubeconfig(ctx context.Context, lifetime time.Duration) ([]byte, error) {
	switch {
	case lifetime < 0:
		return nil, fmt.Errorf("the lifetime must not be negative, but is %s; zero is %s", lifetime, defaultJoinLifetime)
	case lifetime == 0:
		lifetime = defaultJoinLifetime
	}
	client, err := s.joinClient()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.servesJoining(); err != nil {
		return nil, err
	}
	// Not with ctx: an interrupted write may still succeed, and leave an unknown token.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), joinWriteTimeout)
	defer cancel()
	for range joinTokenTries {
		token := join.NewToken()
		cfg := s.kubeconfigOf(token.SecretName(), pki.KeyPair{})
		cfg.AuthInfos[token.SecretName()].Token = token.String()
		data, err := clientcmd.Write(*cfg)
		if err != nil {
			return nil, err
		}
		secret := joinSecret(token, time.Now().Add(lifetime))
		switch _, err := client.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{}); {
		case err == nil:
			return data, nil
		case apierrors.IsAlreadyExists(err):
			continue
		default:
			// It may have been written nevertheless.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), joinWriteTimeout)
			defer cancel()
			return nil, errors.Join(err, deleteToken(ctx, client, token))
		}
	}
	return nil, fmt.Errorf("%d random token IDs in a row are in use: are there many Secrets bootstrap-token-* in %s?", joinTokenTries, metav1.NamespaceSystem)
}

// joinSecret returns the Secret of a token, like upstream's except for the length of the
// secret.
func joinSecret(token join.Token, expiration time.Time) *corev1.Secret {
	// RFC 3339 has full seconds, and a short lifetime must not become zero.
	expiration = expiration.Add(time.Second - time.Nanosecond).Truncate(time.Second).UTC()
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: token.SecretName()},
		Type:       bootstrapapi.SecretTypeBootstrapToken,
		Data: map[string][]byte{
			bootstrapapi.BootstrapTokenDescriptionKey:      []byte("Lets workers join: made by JoinKubeconfig. Delete it to revoke the kubeconfig."),
			bootstrapapi.BootstrapTokenIDKey:               []byte(token.ID),
			bootstrapapi.BootstrapTokenSecretKey:           []byte(token.Secret),
			bootstrapapi.BootstrapTokenExpirationKey:       []byte(expiration.Format(time.RFC3339)),
			bootstrapapi.BootstrapTokenUsageAuthentication: []byte("true"),
			bootstrapapi.BootstrapTokenExtraGroupsKey:      []byte(join.Group),
		},
	}
}

// RevokeJoinKubeconfig revokes a file of JoinKubeconfig of this control plane: the API
// server refuses the next request with its token. Revoking a revoked or expired file is
// not an error. It fails for a file without a join token, or of another control plane.
//
// The revocation survives Restore, which invalidates all join files of the snapshot. It
// does not survive if an older copy of DataDir or of an external etcd is put back by
// other means: revoke the file again.
//
// Workers that have joined stay, including a thief's. Their certificates are their
// own, are renewed while their kubelets run, and outlive the file and the Node.
// [Server.RevokeNode] revokes one of them. The node names that were claimed with a file
// are in the Secrets in kube-system with the ID of its token. The ID is in the name of
// the file's user, bootstrap-token-<id>:
//
//	kubectl -n kube-system get secrets -l join-token.kubembed.dev/<id>
//
// The Secrets are called node-identity.<node>, and are deleted with the Node: list them
// before you delete Nodes. If a file was stolen, revoke it, then revoke each of these
// nodes that is not certainly yours, and let the others join with a new file.
func (s *Server) RevokeJoinKubeconfig(ctx context.Context, kubeconfig []byte) error {
	if err := s.revokeJoinKubeconfig(ctx, kubeconfig); err != nil {
		return fmt.Errorf("controlplane: revoke join kubeconfig: %w", err)
	}
	return nil
}

func (s *Server) revokeJoinKubeconfig(ctx context.Context, kubeconfig []byte) error {
	token, err := s.joinToken(kubeconfig)
	if err != nil {
		return err
	}
	client, err := s.joinClient()
	if err != nil {
		return err
	}
	return deleteToken(ctx, client, token)
}

// joinToken returns the token in a file of JoinKubeconfig.
func (s *Server) joinToken(kubeconfig []byte) (join.Token, error) {
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return join.Token{}, fmt.Errorf("not a kubeconfig file: %w", err)
	}
	current, ok := cfg.Contexts[cfg.CurrentContext]
	if !ok {
		return join.Token{}, errors.New("not made by JoinKubeconfig: the file has no current context")
	}
	user, cluster := cfg.AuthInfos[current.AuthInfo], cfg.Clusters[current.Cluster]
	if user == nil || cluster == nil {
		return join.Token{}, errors.New("not made by JoinKubeconfig: the current context of the file has no user or no cluster")
	}
	token, ok := join.ParseToken(user.Token)
	if !ok {
		return join.Token{}, errors.New("not made by JoinKubeconfig: the user of the file has no bootstrap token")
	}
	// The token is unknown here, which must not look like success.
	if !shareCertificate(cluster.CertificateAuthorityData, s.pki.CABundle()) {
		return join.Token{}, errors.New("the file belongs to another control plane: its CA is another one")
	}
	return token, nil
}

// shareCertificate reports whether two bundles have a certificate in common. They differ
// if a CA was added in between.
func shareCertificate(a, b []byte) bool {
	first, err := cert.ParseCertsPEM(a)
	if err != nil {
		return false
	}
	second, err := cert.ParseCertsPEM(b)
	return err == nil && slices.ContainsFunc(first, func(c *x509.Certificate) bool { return slices.ContainsFunc(second, c.Equal) })
}

// deleteToken deletes the Secret of token and no other. A missing Secret is not an error.
func deleteToken(ctx context.Context, client kubernetes.Interface, token join.Token) error {
	secrets := client.CoreV1().Secrets(metav1.NamespaceSystem)
	secret, err := secrets.Get(ctx, token.SecretName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case secret.Type != bootstrapapi.SecretTypeBootstrapToken:
		return fmt.Errorf("secret %s/%s is not a bootstrap token but of type %q, and stays", secret.Namespace, secret.Name, secret.Type)
	case subtle.ConstantTimeCompare(secret.Data[bootstrapapi.BootstrapTokenSecretKey], []byte(token.Secret)) != 1:
		return fmt.Errorf("secret %s/%s is another token with the same ID, and stays", secret.Namespace, secret.Name)
	}
	err = secrets.Delete(ctx, secret.Name, *metav1.NewPreconditionDeleteOptions(string(secret.UID)))
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// joinClient returns the administrator's client of a running control plane.
func (s *Server) joinClient() (*kubernetes.Clientset, error) {
	if err := s.running(); err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(s.ClientConfig())
}

// servesJoining returns an error if workers cannot join.
func (s *Server) servesJoining() error {
	for _, resource := range []schema.GroupVersionResource{
		certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests"),
		rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings"),
	} {
		if !s.apiserver.Serves(resource) {
			return fieldpath.Errorf("%s of %s are not served, and workers cannot join without them: switch them on in %s", resource.Resource, resource.GroupVersion(), fieldpath.Name("Config.RuntimeConfig"))
		}
	}
	return nil
}
