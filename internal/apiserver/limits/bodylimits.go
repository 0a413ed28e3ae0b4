// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"context"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"github.com/kubembed/kubembed/internal/wire"
)

// The sizes of bodies, in bytes. Resources that clients of few permissions may write, or
// whose objects are never large, have smaller limits.
const (
	// DefaultMaxBody is upstream's limit.
	DefaultMaxBody = 3 << 20
	// MinMaxBody is the smallest limit for bodies. The control plane itself writes
	// objects of this size.
	MinMaxBody = 128 << 10
	// MaxMaxBody is the largest limit for bodies: etcd recommends no larger requests.
	MaxMaxBody = 10 << 20
	// A request for a certificate with an RSA key of 8,192 bits and a hundred names has
	// 8 kB. Status and approval also have the certificate chain.
	maxCertificateRequest = 32 << 10
	maxCertificateChain   = 128 << 10
	// Reviews contain a token at most, evictions and bindings a reference, deletions
	// their options.
	maxSmall = 64 << 10
	// The status of a node lists its images.
	maxNodeBody = 1 << 20
)

// requester is the client of a request, as far as limits depend on it.
type requester struct {
	name       string
	privileged bool // administrators, and parts of the control plane
	bootstrap  bool // clients with a join token
	node       bool
}

func requesterOf(ctx context.Context) requester {
	info, ok := request.UserFrom(ctx)
	if !ok {
		return requester{}
	}
	r := requester{name: info.GetName()}
	for _, group := range info.GetGroups() {
		switch {
		case group == user.SystemPrivilegedGroup, group == "system:serviceaccounts:kube-system":
			r.privileged = true
		case group == bootstrapapi.BootstrapDefaultGroup, strings.HasPrefix(group, bootstrapapi.BootstrapDefaultGroup+":"):
			r.bootstrap = true
		case group == user.NodesGroup:
			r.node = true
		}
	}
	switch r.name {
	case user.APIServerUser, user.KubeControllerManager, user.KubeScheduler:
		r.privileged = true
	}
	return r
}

// limited reports whether the requester has a storage budget.
func (r requester) limited() bool { return !r.privileged && (r.bootstrap || r.node) }

func (r requester) bodyLimit(info *request.RequestInfo, method string, maxBody int64) int64 {
	limit := maxBody
	if r.limited() {
		limit = maxNodeBody
		if r.bootstrap {
			limit = maxCertificateRequest
		}
	}
	return min(limit, maxBody, resourceLimit(info, method, maxBody))
}

func resourceLimit(info *request.RequestInfo, method string, maxBody int64) int64 {
	switch {
	case method == http.MethodDelete, slices.Contains(smallSubresources, info.Subresource):
		return maxSmall
	case info.APIGroup == certificatesv1.GroupName && info.Resource == "certificatesigningrequests" && info.Subresource != "",
		info.APIGroup == certificatesv1.GroupName && info.Resource == "podcertificaterequests" && info.Subresource != "":
		return maxCertificateChain
	case info.APIGroup == certificatesv1.GroupName && info.Resource != "clustertrustbundles":
		return maxCertificateRequest
	case info.APIGroup == authenticationv1.GroupName, info.APIGroup == authorizationv1.GroupName, info.APIGroup == coordinationv1.GroupName:
		return maxSmall
	}
	return maxBody
}

// maxDepth is the maximum depth of a body. Upstream allows 10,000 levels in JSON. Each
// level takes several stack frames in conversion, validation, OpenAPI and CEL.
const maxDepth = 1000

// maxNested bounds the bytes that types with their own JSON encoding, such as schemas,
// read again at each level: a schema of 1.4 MB with 30 levels on average has 42 MB.
const maxNested = 128 << 20

// maxDecoded bounds a decoded body. The largest object that etcd stores by default has
// 1.5 MB. As a CRD or a custom resource it takes well below 128 MiB.
const maxDecoded = 128 << 20

// costLimit returns the limits of a decoded body. With a larger limit for bodies these
// limits grow, and bodyMemory with them.
func (r requester) costLimit(info *request.RequestInfo, maxBody int64) wire.Limits {
	limits := wire.Limits{Depth: maxDepth, Nested: maxNested}
	switch {
	case !r.privileged && r.bootstrap:
		limits.Bytes = 2 << 20
	case !r.privileged && r.node:
		limits.Bytes = 16 << 20
	case info.APIGroup == apiextensionsv1.GroupName || !builtinGroup(info.APIGroup):
		limits.Bytes = scaled(maxDecoded, maxBody)
	default:
		limits.Bytes = scaled(maxDecoded/2, maxBody)
	}
	return limits
}

var smallSubresources = []string{"binding", "eviction", "token", "scale"}
