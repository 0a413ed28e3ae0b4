// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/auth/nodeidentifier"

	"github.com/kubembed/kubembed/internal/join"
	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// nodeNames reserves the names of nodes for keys, in the records of package nodeidentity.
type nodeNames struct {
	client                    kubernetes.Interface
	records                   cache.Indexer // by byToken
	duration, kubeletDuration time.Duration // see lifetime
}

const (
	// byToken indexes records by the tokens of Record.Unregistered.
	byToken = "token"
	// maxUnregistered is the number of names without a Node that a token can reserve. A
	// kubelet creates its Node a second after it gets its certificate. A stolen join
	// file must not fill etcd with reservations.
	maxUnregistered = 2000
	// lapseSlack is the time for which a key is stored after the estimated end of its
	// certificate, which is signed after the approval.
	lapseSlack = time.Hour
)

func indexByToken(object any) ([]string, error) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return nil, nil
	}
	record, err := nodeidentity.Load(secret)
	if err != nil {
		return nil, nil //nolint:nilerr // an error of an index function is a panic
	}
	return record.Unregistered(), nil
}

// requester returns the node that has made the request, if it was a node.
func requester(request *certificatesv1.CertificateSigningRequest) (name string, node bool) {
	return nodeidentifier.NewDefaultNodeIdentifier().NodeIdentity(&user.DefaultInfo{Name: request.Spec.Username, Groups: request.Spec.Groups})
}

// requesterKey returns the hash of the key with which the requester has authenticated. It
// is empty if the requester had no certificate of a node.
func requesterKey(request *certificatesv1.CertificateSigningRequest) string {
	if values := request.Spec.Extra[nodeidentity.KeyExtra]; len(values) == 1 {
		return values[0]
	}
	return ""
}

func (n *nodeNames) key(request *certificatesv1.CertificateSigningRequest, hash string) nodeidentity.Key {
	now := time.Now().UTC()
	return nodeidentity.Key{
		SHA256:   hash,
		By:       request.Spec.Username,
		Request:  request.Name,
		Since:    metav1.NewTime(now),
		NotAfter: metav1.NewTime(now.Add(lifetime(request, n.duration, n.kubeletDuration) + lapseSlack)),
	}
}

// reserve reserves the name of a node for the key of a join request. The problem is why
// the name is not available. The record is stored when reserve returns, so that it
// applies to concurrent requests of other keys, here or at another control plane.
func (n *nodeNames) reserve(ctx context.Context, request *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest, name string) (problem string, err error) {
	hash, err := nodeidentity.HashKey(parsed.PublicKey)
	if err != nil {
		return err.Error(), nil //nolint:nilerr // a retry would fail too
	}
	_, err = nodeidentity.Change(ctx, n.client.CoreV1(), name, func(r *nodeidentity.Record, _ bool) error {
		problem = ""
		if r.IsRevoked(hash) {
			problem = fmt.Sprintf("this key was revoked with the identity of node %s; delete the kubelet's certificates and keys, by default /var/lib/kubelet/pki, so that it makes a new key", name)
			return nodeidentity.ErrUnchanged
		}
		// A live read, after the record: a machine that joins under the name of a node
		// can read the Secrets of its pods.
		exists, err := n.exists(ctx, name)
		switch sameKey := r.Reserved && r.Has(hash); { // the same machine
		case err != nil:
			return err
		case exists && sameKey:
			return nodeidentity.ErrUnchanged
		case exists:
			problem = fmt.Sprintf("node %s exists already; if this machine replaces it, delete it first: kubectl delete node %s", name, name)
			return nodeidentity.ErrUnchanged
		case sameKey && r.NodeUID == "":
			r.Confirm(n.key(request, hash))
			return nil
		}
		if r.Reserved && r.NodeUID == "" && !r.Expired(time.Now()) {
			problem = reservedMessage(r)
			return nodeidentity.ErrUnchanged
		}
		if problem = n.checkTokenLimit(request); problem != "" {
			return nodeidentity.ErrUnchanged
		}
		r.Reserve(n.key(request, hash))
		return nil
	})
	return problem, err
}

// reservedMessage returns who has reserved a name, and the remedies.
func reservedMessage(r *nodeidentity.Record) string {
	return fmt.Sprintf("the name of node %s is reserved for another key, by %s at %s, until its Node is created and deleted. "+
		"If that machine is lost before it creates its Node: kubectl -n %s delete secret %s. "+
		"If the join file was stolen: revoke it, and the identity with Server.RevokeNode",
		r.Node, strings.Join(r.ReservedBy, " and "), r.ReservedAt.UTC().Format(time.RFC3339), nodeidentity.Namespace, nodeidentity.SecretName(r.Node))
}

// checkTokenLimit returns a problem if the token of the request has reserved too many
// names.
func (n *nodeNames) checkTokenLimit(request *certificatesv1.CertificateSigningRequest) string {
	id := strings.TrimPrefix(request.Spec.Username, "system:bootstrap:")
	keys, err := n.records.IndexKeys(byToken, id)
	if err != nil || len(keys) < maxUnregistered {
		return ""
	}
	return fmt.Sprintf("%d names that were reserved with this join file have no Node; revoke the file if it was stolen, and delete the Secrets: kubectl -n %s delete secrets -l %s%s",
		len(keys), nodeidentity.Namespace, nodeidentity.TokenLabelPrefix, id)
}

// exists reports whether there is a Node of that name.
func (n *nodeNames) exists(ctx context.Context, name string) (bool, error) {
	_, err := n.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("node %s: %w", name, err)
	}
	return true, nil
}

// bind records the key of an approved request before it is signed, whether the approver
// or an operator has approved it. The refusal is why it must not be signed.
func (n *nodeNames) bind(ctx context.Context, request *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest) (refusal, err error) {
	signer := request.Spec.SignerName
	if signer != certificatesv1.KubeAPIServerClientKubeletSignerName && signer != certificatesv1.KubeletServingSignerName {
		return nil, nil
	}
	name, ok := nodeidentity.NodeOfUser(parsed.Subject.CommonName)
	if !ok || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return nil, nil
	}
	if slices.Contains(request.Spec.Groups, join.Group) {
		// The name is usually reserved already, unless the identity was revoked after
		// the approval.
		problem, err := n.reserve(ctx, request, parsed, name)
		if problem != "" {
			refusal = errors.New(problem)
		}
		return refusal, err
	}
	hash, err := nodeidentity.HashKey(parsed.PublicKey)
	if err != nil {
		return err, nil
	}
	_, node := requester(request)
	_, err = nodeidentity.Change(ctx, n.client.CoreV1(), name, func(r *nodeidentity.Record, stored bool) error {
		refusal = refuse(r, node, requesterKey(request), hash)
		if refusal != nil || signer == certificatesv1.KubeletServingSignerName || r.Has(hash) {
			return nodeidentity.ErrUnchanged
		}
		if node {
			// A node that joined an older release has no record, and gets none.
			if !stored || len(r.Keys) == 0 {
				return nodeidentity.ErrUnchanged
			}
		} else if !stored { // approved by an operator
			if exists, err := n.exists(ctx, name); err != nil {
				return err
			} else if exists {
				return nodeidentity.ErrUnchanged
			}
			r.Confirm(n.key(request, hash))
			return nil
		}
		r.Add(n.key(request, hash))
		return nil
	})
	return refusal, err
}

// refuse returns why a request of a node, or one that an operator has approved, must not
// be signed. requesterKey is the key with which a node has made the request, if it is
// known.
func refuse(r *nodeidentity.Record, node bool, requesterKey, hash string) error {
	switch {
	case r.IsRevoked(hash):
		return fmt.Errorf("the key was revoked with the identity of node %s", r.Node)
	case !node:
		return nil
	case r.Enforced() && !r.Has(requesterKey):
		return fmt.Errorf("the key of the request of node %s was revoked", r.Node)
	case requesterKey != "" && len(r.Keys) > 0 && !r.Has(requesterKey):
		return fmt.Errorf("the name of node %s belongs to another key: the Node was deleted, and another machine has joined under its name", r.Node)
	}
	return nil
}
