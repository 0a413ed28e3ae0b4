package apiserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// nodeKeys adds the key of its client certificate to the user of a node. The API
// server copies it to a CertificateSigningRequest, which then says by which key the
// node has asked.
type nodeKeys struct{ next authenticator.Request }

func (n nodeKeys) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	response, ok, err := n.next.AuthenticateRequest(r)
	if err != nil || !ok || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return response, ok, err
	}
	if _, node := nodeidentity.NodeOfUser(response.User.GetName()); !node || !clientcert.Identifies(response, r.TLS.PeerCertificates[0]) {
		return response, ok, err
	}
	hash, err := nodeidentity.HashKey(r.TLS.PeerCertificates[0].PublicKey)
	if err != nil {
		return nil, false, fmt.Errorf("apiserver: client certificate: %w", err)
	}
	extra := maps.Clone(response.User.GetExtra())
	extra[nodeidentity.KeyExtra] = []string{hash}
	return &authenticator.Response{Audiences: response.Audiences, User: &user.DefaultInfo{
		Name: response.User.GetName(), UID: response.User.GetUID(), Groups: response.User.GetGroups(), Extra: extra,
	}}, true, nil
}

// nodeKey returns the key that nodeKeys has added.
func nodeKey(info user.Info) string {
	if values := info.GetExtra()[nodeidentity.KeyExtra]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// revokedNodes refuses nodes whose identity was revoked, but for the keys that
// were bound to their name later. It asks nothing but memory: an informer tells
// it of the records, here and in every server that shares the etcd. It is in
// front of the cache of certificates, and closes the connections of nodes that it
// no longer accepts.
type revokedNodes struct {
	logger *zap.Logger
	synced func() bool

	// records are the enforced records, by the name of the node. The map is replaced,
	// never changed.
	records atomic.Pointer[map[string]*revokedNode]
	mu      sync.Mutex // of who replaces it
	conns   clientcert.Conns
}

type revokedNode struct {
	keys            map[string]bool
	resourceVersion string
}

func (r *revokedNode) accepts(key string) bool { return r == nil || key != "" && r.keys[key] }

func newRevokedNodes(secrets cache.SharedIndexInformer, logger *zap.Logger) (*revokedNodes, error) {
	r := &revokedNodes{logger: logger}
	r.records.Store(&map[string]*revokedNode{})
	registration, err := secrets.AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: func(object any) bool {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			secret, ok := object.(*corev1.Secret)
			return ok && secret.Type == nodeidentity.SecretType && secret.Namespace == nodeidentity.Namespace
		},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    r.set,
			UpdateFunc: func(_, after any) { r.set(after) },
			DeleteFunc: r.remove,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("apiserver: records of nodes: %w", err)
	}
	r.synced = registration.HasSynced
	return r, nil
}

// waitSynced returns when the revocations from before the start are known.
func (r *revokedNodes) waitSynced(ctx context.Context) error {
	if err := lifecycle.Poll(ctx, r.synced); err != nil {
		return fmt.Errorf("apiserver: records of nodes: %w", err)
	}
	return nil
}

func (r *revokedNodes) set(object any) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return
	}
	record, err := nodeidentity.Load(secret)
	if err != nil {
		// Somebody has written into it. Earlier revocations stay.
		r.logger.Error("the record of a node cannot be read: its last change is not enforced", zap.Error(err))
		return
	}
	var enforced *revokedNode
	if record.Enforced() {
		enforced = &revokedNode{keys: map[string]bool{}, resourceVersion: secret.ResourceVersion}
		for _, key := range record.Keys {
			enforced.keys[key.SHA256] = true
		}
	}
	r.replace(record.Node, enforced)
}

func (r *revokedNodes) remove(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return
	}
	if record, err := nodeidentity.Load(secret); err == nil {
		r.replace(record.Node, nil)
	}
}

func (r *revokedNodes) replace(node string, enforced *revokedNode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.records.Load()
	if old[node] == nil && enforced == nil {
		return
	}
	records := maps.Clone(old)
	if enforced == nil {
		delete(records, node)
	} else {
		records[node] = enforced
	}
	r.records.Store(&records)
	r.conns.Close(node, enforced.accepts)
}

// wrap refuses revoked nodes that next accepts.
func (r *revokedNodes) wrap(next authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		response, ok, err := next.AuthenticateRequest(req)
		if err != nil || !ok {
			return response, ok, err
		}
		node, isNode := nodeidentity.NodeOfUser(response.User.GetName())
		if !isNode {
			return response, ok, nil
		}
		key := nodeKey(response.User)
		// First known, then judged: one of the two finds a node that is revoked in between.
		r.conns.Add(req, node, key)
		if !(*r.records.Load())[node].accepts(key) {
			return nil, false, errRevokedNode
		}
		return response, ok, nil
	})
}

var errRevokedNode = errors.New("apiserver: the identity of the node was revoked")

// has reports whether the record of a node is known, as it was at resourceVersion
// or later.
func (r *revokedNodes) has(node, resourceVersion string) bool {
	record := (*r.records.Load())[node]
	if record == nil {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(record.resourceVersion, resourceVersion)
	return err != nil || order >= 0
}

// WaitForRevokedNode returns when the server refuses the keys of a node that are
// revoked by its record, as that was stored at resourceVersion. The error is the
// cause of ctx, when that ends first.
func (s *Server) WaitForRevokedNode(ctx context.Context, node, resourceVersion string) error {
	return lifecycle.Poll(ctx, func() bool { return s.generic.revoked.has(node, resourceVersion) })
}
