// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clientcert

import (
	"fmt"
	"maps"
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// NodeKeys adds the hash of the public key of its client certificate to the user of a
// node. The API server copies it to the CertificateSigningRequests of the node, which
// shows by which key the node has requested them. NodeKeys removes such a hash from all
// other users: no other authenticator may claim it.
type NodeKeys struct{ Next authenticator.Request }

// AuthenticateRequest is authenticator.Request.
func (n NodeKeys) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	response, ok, err := n.Next.AuthenticateRequest(r)
	if err != nil || !ok {
		return response, ok, err
	}
	_, node := nodeidentity.NodeOfUser(response.User.GetName())
	if !node || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || !Identifies(response, r.TLS.PeerCertificates[0]) {
		return withoutNodeKey(response), true, nil
	}
	hash, err := nodeidentity.HashKey(r.TLS.PeerCertificates[0].PublicKey)
	if err != nil {
		return nil, false, fmt.Errorf("apiserver: client certificate: %w", err)
	}
	extra := maps.Clone(response.User.GetExtra())
	extra[nodeidentity.KeyExtra] = []string{hash}
	return withExtra(response, extra), true, nil
}

func withoutNodeKey(response *authenticator.Response) *authenticator.Response {
	claimed := func(key string, _ []string) bool { return strings.EqualFold(key, nodeidentity.KeyExtra) }
	extra := response.User.GetExtra()
	for key := range extra {
		if claimed(key, nil) {
			extra = maps.Clone(extra)
			maps.DeleteFunc(extra, claimed)
			return withExtra(response, extra)
		}
	}
	return response
}

func withExtra(response *authenticator.Response, extra map[string][]string) *authenticator.Response {
	return &authenticator.Response{Audiences: response.Audiences, User: &user.DefaultInfo{
		Name: response.User.GetName(), UID: response.User.GetUID(), Groups: response.User.GetGroups(), Extra: extra,
	}}
}

// nodeKey returns the hash that NodeKeys has added.
func nodeKey(info user.Info) string {
	if values := info.GetExtra()[nodeidentity.KeyExtra]; len(values) == 1 {
		return values[0]
	}
	return ""
}
