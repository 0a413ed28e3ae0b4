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

// names binds the names of nodes to keys, in the records of package nodeidentity.
type names struct {
	client             kubernetes.Interface
	records            cache.Indexer // by byToken
	duration, kubelets time.Duration // see lifetime
}

const (
	// byToken indexes records by the tokens of Record.Unregistered.
	byToken = "token"
	// maxUnregistered is how many names one token may have reserved at a time of
	// which no Node has appeared. A kubelet makes its Node a second after it has its
	// certificate; the thief of a join file must not fill etcd with names.
	maxUnregistered = 2000
	// lapseSlack is how much longer than its certificate a key is remembered: it is
	// signed a moment after it was approved.
	lapseSlack = time.Hour
)

func indexByToken(object any) ([]string, error) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return nil, nil
	}
	record, err := nodeidentity.Load(secret)
	if err != nil {
		return nil, nil // an index function that fails panics
	}
	return record.Unregistered(), nil
}

// requester is the node that has made the request, if a node has.
func requester(request *certificatesv1.CertificateSigningRequest) (name string, node bool) {
	return nodeidentifier.NewDefaultNodeIdentifier().NodeIdentity(&user.DefaultInfo{Name: request.Spec.Username, Groups: request.Spec.Groups})
}

// requesterKey is the hash of the key that the requester has authenticated with.
// It is empty if it was not by a certificate of a node.
func requesterKey(request *certificatesv1.CertificateSigningRequest) string {
	if values := request.Spec.Extra[nodeidentity.KeyExtra]; len(values) == 1 {
		return values[0]
	}
	return ""
}

func (n *names) key(request *certificatesv1.CertificateSigningRequest, hash string) nodeidentity.Key {
	now := time.Now().UTC()
	return nodeidentity.Key{
		SHA256:   hash,
		By:       request.Spec.Username,
		Request:  request.Name,
		Since:    metav1.NewTime(now),
		NotAfter: metav1.NewTime(now.Add(lifetime(request, n.duration, n.kubelets) + lapseSlack)),
	}
}

// reserve reserves the name of a node for the key of a join request. The problem
// says why it cannot be had. The record is stored when reserve returns, so that
// another key that asks at the same moment, here or at another control plane, is
// judged by it.
func (n *names) reserve(ctx context.Context, request *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest, name string) (problem string, err error) {
	hash, err := nodeidentity.HashKey(parsed.PublicKey)
	if err != nil {
		return err.Error(), nil //nolint:nilerr // no other try would help
	}
	_, err = nodeidentity.Change(ctx, n.client.CoreV1(), name, func(r *nodeidentity.Record, _ bool) error {
		problem = ""
		if r.IsRevoked(hash) {
			problem = fmt.Sprintf("this key was revoked with the identity of node %s; delete the kubelet's certificates and keys, by default /var/lib/kubelet/pki, so that it makes a new key", name)
			return nodeidentity.ErrUnchanged
		}
		// Read live, after the record: a machine that joins under the name of a node
		// gets the Secrets meant for that node.
		exists, err := n.exists(ctx, name)
		switch again := r.Reserved && r.Has(hash); { // the same machine, with the same key
		case err != nil:
			return err
		case exists && again:
			return nodeidentity.ErrUnchanged
		case exists:
			problem = fmt.Sprintf("node %s exists already; if this machine replaces it, delete it first: kubectl delete node %s", name, name)
			return nodeidentity.ErrUnchanged
		case again && r.NodeUID == "":
			r.Confirm(n.key(request, hash))
			return nil
		}
		if r.Reserved && r.NodeUID == "" && !r.Expired(time.Now()) {
			problem = taken(r)
			return nodeidentity.ErrUnchanged
		}
		if problem = n.tooMany(request); problem != "" {
			return nodeidentity.ErrUnchanged
		}
		r.Reserve(n.key(request, hash))
		return nil
	})
	return problem, err
}

// taken says whose the name is, and what can be done.
func taken(r *nodeidentity.Record) string {
	return fmt.Sprintf("the name of node %s is reserved for another key, by %s at %s, until its Node was there and is deleted. "+
		"If that machine is lost before it made its Node: kubectl -n %s delete secret %s. "+
		"If somebody else has taken the name: revoke the join file, and the identity with Server.RevokeNode",
		r.Node, strings.Join(r.ReservedBy, " and "), r.ReservedAt.UTC().Format(time.RFC3339), nodeidentity.Namespace, nodeidentity.SecretName(r.Node))
}

// tooMany says that the token of the request has reserved enough names.
func (n *names) tooMany(request *certificatesv1.CertificateSigningRequest) string {
	id := strings.TrimPrefix(request.Spec.Username, "system:bootstrap:")
	keys, err := n.records.IndexKeys(byToken, id)
	if err != nil || len(keys) < maxUnregistered {
		return ""
	}
	return fmt.Sprintf("%d names that were reserved with this join file have no Node; revoke the file if it was stolen, and delete the Secrets: kubectl -n %s delete secrets -l %s%s",
		len(keys), nodeidentity.Namespace, nodeidentity.TokenLabelPrefix, id)
}

// exists reports whether there is a Node of that name.
func (n *names) exists(ctx context.Context, name string) (bool, error) {
	_, err := n.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("node %s: %w", name, err)
	}
	return true, nil
}

// bind records the key of an approved request before it is signed, no matter who
// approved it. The refusal says why it must not be signed.
func (n *names) bind(ctx context.Context, request *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest) (refusal, err error) {
	signer := request.Spec.SignerName
	if signer != certificatesv1.KubeAPIServerClientKubeletSignerName && signer != certificatesv1.KubeletServingSignerName {
		return nil, nil
	}
	name, ok := nodeidentity.NodeOfUser(parsed.Subject.CommonName)
	if !ok || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return nil, nil
	}
	if slices.Contains(request.Spec.Groups, join.Group) {
		// Most often it is reserved already. It is not any more when the identity was
		// revoked after the approval.
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
			// A node that joined an older release has no record and gets none.
			if !stored || len(r.Keys) == 0 {
				return nodeidentity.ErrUnchanged
			}
		} else if !stored { // approved by hand
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

// refuse says why a request of a node, or one that was approved by hand, must not
// be signed. by is the key that a node has asked with, if it is known.
func refuse(r *nodeidentity.Record, node bool, by, hash string) error {
	switch {
	case r.IsRevoked(hash):
		return fmt.Errorf("the key was revoked with the identity of node %s", r.Node)
	case !node:
		return nil
	case r.Enforced() && !r.Has(by):
		return fmt.Errorf("the key that node %s has asked with was revoked", r.Node)
	case by != "" && len(r.Keys) > 0 && !r.Has(by):
		return fmt.Errorf("the name of node %s belongs to another key than the one that has asked: the Node was deleted, and another machine has joined under its name", r.Node)
	}
	return nil
}
