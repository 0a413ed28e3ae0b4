// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// RevokeNode revokes the identity of a node and deletes its Node. The API server then
// refuses every client certificate for the node whose key existed before, however it was
// issued. It closes the connections and watches of the node. Revoking an unknown or
// revoked name is not an error.
//
// The name is then free. A machine that joins under it creates a new key and is accepted,
// and so is a later file of NodeKubeconfig. A revoked key cannot join again: on a machine
// that is to return, delete the kubelet's kubeconfig and /var/lib/kubelet/pki. If a join
// file was stolen, revoke it first, or its holder joins again.
//
// When RevokeNode returns, this control plane refuses the node. Others that share its
// etcd follow a moment later, or when they reach etcd again. The revocation survives
// restarts. It is stored in the Secret node-identity.<name> in kube-system. Deleting the
// Secret, or restoring an older snapshot, makes old certificates valid again.
//
// Data that the node has read is not affected. Tokens of service accounts of its pods are
// valid until the Pods are deleted, about a minute after the Node, and for ten more
// seconds. Its serving certificate stays valid, but without the Node the API server does
// not use it.
//
// It fails after Shutdown. After any other error the identity may be revoked while the
// Node exists: call it again.
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
	// First the revocation: a kubelet that is still accepted would create its Node again.
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

// vouch binds a node name to the key of a certificate for the host, before the host gets
// it. So no join file can claim the name before the kubelet has created its Node.
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
