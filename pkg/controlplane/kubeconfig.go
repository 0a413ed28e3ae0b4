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
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/internal/nodeidentity"
	"github.com/kubembed/kubembed/internal/revocation"
	"github.com/kubembed/kubembed/pkg/pki"
)

// KubeconfigOptions says whose a kubeconfig is, and how long it is valid.
type KubeconfigOptions struct {
	// User is the name of the user. It must not be empty. RBAC goes by it.
	User string
	// Groups are those of the user. Group system:masters may do everything. If empty,
	// the user is in system:authenticated only, as all are.
	Groups []string
	// Lifetime is how long the client certificate is valid. It ends with the CA if that
	// is earlier. If zero, one year. A negative one is an error.
	Lifetime time.Duration
}

// Kubeconfig is NewKubeconfig for user in groups, with a certificate that is valid for a
// year. Kubeconfig("admin", "system:masters") may do everything.
func (s *Server) Kubeconfig(user string, groups ...string) ([]byte, error) {
	return s.NewKubeconfig(KubeconfigOptions{User: user, Groups: groups})
}

// NewKubeconfig returns a kubeconfig file with a client certificate and key of its own.
// It connects over TLS to URL. Keep it, or its certificate, if you may want to revoke it
// with RevokeKubeconfig; the control plane keeps neither. It is an error after Shutdown
// and Close, and when the control plane has stopped by itself.
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
		return nil, fmt.Errorf("KubeconfigOptions.Lifetime must not be negative, but is %s; zero is one year", options.Lifetime)
	}
	pair, err := s.pki.IssueClient(options.User, options.Groups, options.Lifetime)
	if err != nil {
		return nil, err
	}
	return s.kubeconfig(options.User, pair)
}

// NodeKubeconfig returns a kubeconfig file for the kubelet of the node that is
// called name. It may do what a kubelet needs, for that node and the pods on
// it. Its certificate is valid for a year, and its key belongs to the name: nobody
// with a join file gets the name until the Node was there and is deleted, or the
// certificate has expired. After RevokeNode the file is accepted, and earlier ones
// are not. A name that is no DNS subdomain is an error, and so are an etcd that does
// not answer and a control plane that is stopped.
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
	return clientcmd.Write(*pki.Kubeconfig(s.URL(), s.pki.CABundle(), user, pair))
}

// running is an error when the control plane is stopped.
func (s *Server) running() error {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if stopped || closed(s.done) {
		return errors.New("the control plane is stopped")
	}
	return nil
}

// RevokeKubeconfig revokes a file of Kubeconfig or NewKubeconfig of this control plane:
// its client certificate, and any other with the same key, is not accepted from then on,
// and connections on which it was shown are closed, their watches with them. It may lack
// the private key. A file that has been revoked, or has expired, is no error. One
// without a client certificate of this control plane is, and so are those of nodes,
// which RevokeNode is for, and of JoinKubeconfig, which RevokeJoinKubeconfig is for.
//
// When RevokeKubeconfig returns, this control plane refuses the certificate. Others that
// share its etcd do a moment later. The revocation outlives restarts. It is the Secret
// revoked-certificate.<SHA-256 of the key> in kube-system, which a later call deletes
// when the certificate has expired; deleting it earlier accepts the certificate again,
// and so does Restore of a snapshot from before the revocation.
//
// What the user has done stays: other files and tokens that it has made, RBAC roles that
// it has given to others. It is an error after Shutdown. After any other error the file
// may be revoked: call it again.
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

// clientCertificate is that of the current context of a file that this control plane has
// made.
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
	// It would be accepted by the control plane that it is of.
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

// forgetExpired deletes revocations of certificates that have expired since.
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
