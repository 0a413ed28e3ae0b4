package apiserver

import (
	"context"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/internal/join"
)

// joinAuthorizer lets clients with a join token list and watch the one
// CertificateSigningRequest that it can name, if it may get it: a kubelet waits
// for its certificate so (WaitForCertificate in client-go/util/certificate/csr).
// Its role does not grant list and watch, which would show the requests of all
// others.
type joinAuthorizer struct {
	Authorizer authorizer.UnconditionalAuthorizer // not embedded, as in currentAuthorizer
}

func (j joinAuthorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetResource() == "certificatesigningrequests" && ofJoiner(a) {
		return j.Authorizer.Authorize(ctx, getOf{a})
	}
	return j.Authorizer.Authorize(ctx, a)
}

// ofJoiner reports whether somebody with a join token lists or watches one
// request. Its name is that of a field selector, which upstream has read from
// the query (RequestInfo).
func ofJoiner(a authorizer.Attributes) bool {
	if a.GetVerb() != "list" && a.GetVerb() != "watch" || a.GetName() == "" || a.GetSubresource() != "" ||
		a.GetAPIGroup() != certificatesv1.GroupName || a.GetUser() == nil || !slices.Contains(a.GetUser().GetGroups(), join.Group) {
		return false
	}
	return true
}

// getOf is the same request, if it were to get the object.
type getOf struct{ authorizer.Attributes }

func (getOf) GetVerb() string { return "get" }
