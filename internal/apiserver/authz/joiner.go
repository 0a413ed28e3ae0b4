// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"context"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/internal/join"
)

// JoinAuthorizer allows clients with a join token to list and watch a single
// CertificateSigningRequest by its name, if they may get it. A kubelet waits for its
// certificate in this way (WaitForCertificate in client-go/util/certificate/csr). The
// role of these clients does not grant list and watch, which would show the requests of
// others.
type JoinAuthorizer struct {
	// Authorizer makes the decisions. It is not embedded: a method of a later version of
	// the interface would not see the changed request.
	Authorizer authorizer.Authorizer
}

// Authorize implements authorizer.Authorizer.
func (j JoinAuthorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	return j.Authorizer.Authorize(ctx, single(a))
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (j JoinAuthorizer) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return j.Authorizer.ConditionsAwareAuthorize(ctx, single(a))
}

// EvaluateConditions implements authorizer.Authorizer.
func (j JoinAuthorizer) EvaluateConditions(ctx context.Context, unevaluated authorizer.ConditionsAwareDecision, data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return j.Authorizer.EvaluateConditions(ctx, unevaluated, data)
}

// single returns the request to get the object, where a client with a join token lists or
// watches it alone.
func single(a authorizer.Attributes) authorizer.Attributes {
	if a.GetResource() == "certificatesigningrequests" && ofJoiner(a) {
		return getOf{a}
	}
	return a
}

// ofJoiner reports whether a client with a join token lists or watches a single object.
// The name in the attributes is that of the field selector in the query: upstream's
// RequestInfo has read it.
func ofJoiner(a authorizer.Attributes) bool {
	if a.GetVerb() != "list" && a.GetVerb() != "watch" || a.GetName() == "" || a.GetSubresource() != "" ||
		a.GetAPIGroup() != certificatesv1.GroupName || a.GetUser() == nil || !slices.Contains(a.GetUser().GetGroups(), join.Group) {
		return false
	}
	return true
}

// getOf are the attributes of a request that gets the object.
type getOf struct{ authorizer.Attributes }

func (getOf) GetVerb() string { return "get" }
