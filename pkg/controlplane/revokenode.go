package controlplane

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// RevokeNode revokes the identity of a node: from then on no client certificate in
// the name of the node is accepted whose key existed before, no matter how it was
// issued, and the Node is deleted, if there is one. Open
// connections of the node are closed, its watches with them. It is no error to
// revoke a name that no node has, or the same one again.
//
// The name is free then. A machine that joins under it makes a new key, and is
// accepted; so is a file that NodeKubeconfig returns later. A key that was
// revoked cannot join again: on a machine that is to come back delete the
// kubelet's kubeconfig and /var/lib/kubelet/pki. Where a join file was stolen,
// revoke that first, or its holder joins again.
//
// When RevokeNode returns, this control plane refuses the node. Others that share
// its etcd do a moment later, when they hear of it; one that has lost etcd does
// not hear of it. The revocation outlives restarts. It is written in the Secret
// node-identity.<name> in kube-system, and is gone with that: deleting the Secret
// accepts old certificates again, and so does Restore of a snapshot from before
// the revocation.
//
// What the node has read it knows. Tokens of service accounts that pods on it had
// are good until the Pods are deleted, which happens about a minute after the
// Node was, and ten seconds more. Its serving certificate stays valid, for which
// the API server has no use without the Node.
//
// It is an error after Shutdown. After any other error the identity may be revoked and
// the Node be there: call it again.
func (s *Server) RevokeNode(ctx context.Context, name string) error {
	if err := s.revokeNode(ctx, name); err != nil {
		return fmt.Errorf("controlplane: revoke node %q: %w", name, err)
	}
	return nil
}

func (s *Server) revokeNode(ctx context.Context, name string) error {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return fmt.Errorf("not the name of a node: %s", strings.Join(problems, ", "))
	}
	client, err := s.joinClient()
	if err != nil {
		return err
	}
	// The record first: a kubelet that is still accepted would make its Node again.
	secret, err := nodeidentity.Change(ctx, client.CoreV1(), name, func(r *nodeidentity.Record, _ bool) error {
		r.Revoke(time.Now())
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.apiserver.WaitForRevokedNode(ctx, name, secret.ResourceVersion); err != nil {
		return err
	}
	err = client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// vouch binds the key of a certificate that the host has made for a node. It does
// so before the host has it, so that nobody who has a join file gets the name
// before the kubelet has made its Node.
func (s *Server) vouch(name string, certificate []byte) error {
	client, err := s.joinClient()
	if err != nil {
		return err
	}
	parsed, err := cert.ParseCertsPEM(certificate)
	if err != nil {
		return err
	}
	hash, err := nodeidentity.HashKey(parsed[0].PublicKey)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), joinWriteTimeout)
	defer cancel()
	_, err = nodeidentity.Change(ctx, client.CoreV1(), name, func(r *nodeidentity.Record, stored bool) error {
		if !stored {
			if s.config.DisableCoreControllers || !s.apiserver.Serves(corev1.SchemeGroupVersion.WithResource("nodes")) {
				return nodeidentity.ErrUnchanged // nobody joins
			}
			_, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			switch {
			case err == nil:
				return nodeidentity.ErrUnchanged // nobody joins under its name
			case !apierrors.IsNotFound(err):
				return err
			}
		}
		now := time.Now().UTC()
		r.Confirm(nodeidentity.Key{SHA256: hash, By: "Server.NodeKubeconfig", Since: metav1.NewTime(now), NotAfter: metav1.NewTime(parsed[0].NotAfter)})
		return nil
	})
	return err
}
