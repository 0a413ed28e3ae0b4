// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/nodeidentity"
	"github.com/kubembed/kubembed/internal/revocation"
	"github.com/kubembed/kubembed/pkg/pki"
)

// KubeconfigOptions are the user and the lifetime of a kubeconfig.
type KubeconfigOptions struct {
	// User is the user name for RBAC. It must not be empty.
	User string
	// Groups are the groups of the user. Group system:masters may do everything. If
	// empty, the user is only in system:authenticated, as every user is.
	Groups []string
	// Lifetime is the validity of the client certificate, limited by that of the CA. It
	// must not be negative. If zero, one year.
	Lifetime time.Duration
}

// Kubeconfig is NewKubeconfig for user in groups, with a certificate that is valid for a
// year. Kubeconfig("admin", "system:masters") may do everything.
func (s *Server) Kubeconfig(user string, groups ...string) ([]byte, error) {
	return s.NewKubeconfig(KubeconfigOptions{User: user, Groups: groups})
}

// NewKubeconfig returns a kubeconfig with its own client certificate and key. It connects
// over TLS to URL. The control plane does not store it: keep the file, or its
// certificate, to be able to revoke it with RevokeKubeconfig. NewKubeconfig fails when
// the control plane has stopped.
func (s *Server) NewKubeconfig(options KubeconfigOptions) ([]byte, error) {
	data, err := s.newKubeconfig(options)
	if err != nil {
		return nil, fmt.Errorf("controlplane: kubeconfig: %w", err)
	}
	return data, nil
}

func (s *Server) newKubeconfig(options KubeconfigOptions) ([]byte, error) {
	if err := s.running(); err != nil {
		return nil, err
	}
	if options.Lifetime < 0 {
		return nil, fieldpath.Errorf("%s must not be negative, but is %s; zero is one year", fieldpath.Name("KubeconfigOptions.Lifetime"), options.Lifetime)
	}
	pair, err := s.pki.IssueClient(options.User, options.Groups, options.Lifetime)
	if err != nil {
		return nil, err
	}
	return s.kubeconfig(options.User, pair)
}

// NodeKubeconfig returns a kubeconfig for the kubelet of the node name, with the
// permissions that a kubelet needs for that node and its pods. Its certificate is valid
// for a year. The node name belongs to its key: join files cannot claim it until the Node
// was created and deleted again, or the certificate has expired. After RevokeNode a new
// file is accepted, and earlier files are not. It fails if name is not a DNS subdomain,
// if etcd is unavailable, and when the control plane has stopped.
func (s *Server) NodeKubeconfig(name string) ([]byte, error) {
	data, err := s.nodeKubeconfig(name)
	if err != nil {
		return nil, fmt.Errorf("controlplane: node kubeconfig: %w", err)
	}
	return data, nil
}

func (s *Server) nodeKubeconfig(name string) ([]byte, error) {
	if err := s.running(); err != nil {
		return nil, err
	}
	pair, err := s.pki.IssueNode(name, 0)
	if err != nil {
		return nil, err
	}
	if err := s.vouch(name, pair.Cert); err != nil {
		return nil, err
	}
	return s.kubeconfig(nodeidentity.UserPrefix+name, pair)
}

func (s *Server) kubeconfig(user string, pair pki.KeyPair) ([]byte, error) {
	return clientcmd.Write(*s.kubeconfigOf(user, pair))
}

// kubeconfigOf returns a kubeconfig. Its clients get the certificate that CABundle
// verifies, also if others get one of Config.Serving.
func (s *Server) kubeconfigOf(user string, pair pki.KeyPair) *clientcmdapi.Config {
	cfg := pki.Kubeconfig(s.URL(), s.CABundle(), user, pair)
	for _, cluster := range cfg.Clusters {
		cluster.TLSServerName = s.apiserver.ServerName()
	}
	return cfg
}

// running returns an error when the control plane has stopped.
func (s *Server) running() error {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if stopped || closed(s.done) {
		return errors.New("the control plane is stopped")
	}
	return nil
}

// RevokeKubeconfig revokes a file of Kubeconfig or NewKubeconfig of this control plane.
// The API server then refuses its client certificate and others with the same key, and
// closes their connections and watches. The file may lack the private key. Revoking a
// revoked or expired file is not an error. It fails for a file without a client
// certificate of this control plane, for a node's (use RevokeNode), and for one of
// JoinKubeconfig (use RevokeJoinKubeconfig).
//
// When RevokeKubeconfig returns, this control plane refuses the certificate. Others that
// share its etcd follow a moment later. The revocation survives restarts. It is stored in
// the Secret revoked-certificate.<SHA-256 of the key> in kube-system. A later call
// deletes the Secret when the certificate has expired. Deleting it earlier, or restoring
// an older snapshot, makes the certificate valid again.
//
// Other files and tokens that the user has created stay, and so do RBAC bindings that it
// has granted. RevokeKubeconfig fails after Shutdown. After any other error the file may
// be revoked: call it again.
func (s *Server) RevokeKubeconfig(ctx context.Context, kubeconfig []byte) error {
	if err := s.revokeKubeconfig(ctx, kubeconfig); err != nil {
		return fmt.Errorf("controlplane: revoke kubeconfig: %w", err)
	}
	return nil
}

func (s *Server) revokeKubeconfig(ctx context.Context, kubeconfig []byte) error {
	certificate, err := s.clientCertificate(kubeconfig)
	if err != nil {
		return err
	}
	client, err := s.joinClient()
	if err != nil {
		return err
	}
	if s.clock().Now().After(certificate.NotAfter) {
		return nil
	}
	secret, err := revocation.New(certificate)
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := s.apiserver.WaitForRevokedCertificate(ctx, secret); err != nil {
		return err
	}
	return s.forgetExpired(ctx, client)
}

// clientCertificate returns the certificate of the current context of a file of this
// control plane.
func (s *Server) clientCertificate(kubeconfig []byte) (*x509.Certificate, error) {
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("not a kubeconfig file: %w", err)
	}
	current := cfg.Contexts[cfg.CurrentContext]
	if current == nil || cfg.AuthInfos[current.AuthInfo] == nil {
		return nil, errors.New("not made by Kubeconfig: the file has no current context with a user")
	}
	user := cfg.AuthInfos[current.AuthInfo]
	if user.Token != "" {
		return nil, errors.New("its user has a token: use RevokeJoinKubeconfig for a file of JoinKubeconfig, and delete the ServiceAccount or its Secret otherwise")
	}
	chain, err := cert.ParseCertsPEM(user.ClientCertificateData)
	if err != nil {
		return nil, fmt.Errorf("not made by Kubeconfig: the user of the file has no client certificate in it: %w", err)
	}
	// Another control plane would still accept it.
	if !signedByAny(chain[0], s.pki.ClientCAs()) {
		return nil, errors.New("its client certificate is not of this control plane")
	}
	if name, node := nodeidentity.NodeOfUser(chain[0].Subject.CommonName); node {
		return nil, fmt.Errorf("it is of node %q: use RevokeNode", name)
	}
	return chain[0], nil
}

func signedByAny(certificate *x509.Certificate, bundle []byte) bool {
	cas, err := cert.ParseCertsPEM(bundle)
	if err != nil {
		return false
	}
	for _, ca := range cas {
		if certificate.CheckSignatureFrom(ca) == nil {
			return true
		}
	}
	return false
}

// forgetExpired deletes the revocations of expired certificates.
func (s *Server) forgetExpired(ctx context.Context, client kubernetes.Interface) error {
	secrets := client.CoreV1().Secrets(revocation.Namespace)
	list, err := secrets.List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("type", string(revocation.SecretType)).String()})
	if err != nil {
		return err
	}
	for i := range list.Items {
		// One that somebody has edited stays.
		if expired, err := revocation.Expired(&list.Items[i], s.clock().Now()); err != nil || !expired {
			continue
		}
		if err := secrets.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
