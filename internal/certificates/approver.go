// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	certificatesapi "k8s.io/kubernetes/pkg/apis/certificates"
	"k8s.io/kubernetes/pkg/auth/nodeidentifier"
	upstream "k8s.io/kubernetes/pkg/controller/certificates"

	"github.com/kubembed/kubembed/internal/join"
	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// kubeletApprover approves and denies the requests of kubelets.
type kubeletApprover struct {
	Config
	client kubernetes.Interface
	names  *nodeNames
}

// decision is the decision about a request. The zero value leaves it pending.
type decision struct {
	condition       certificatesv1.RequestConditionType
	reason, message string
}

func approved(reason, message string) decision {
	return decision{certificatesv1.CertificateApproved, reason, message}
}

// maxProblems is the number of problems in a denial: a request has room for thousands of
// invalid names.
const maxProblems = 10

func denied(reason string, problems ...string) decision {
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return decision{certificatesv1.CertificateDenied, reason, strings.Join(problems, "; ")}
}

func (a *kubeletApprover) handle(ctx context.Context, request *certificatesv1.CertificateSigningRequest) error {
	approved, denied := upstream.GetCertApprovalCondition(&request.Status)
	if approved || denied || upstream.HasTrueCondition(request, certificatesv1.CertificateFailed) {
		return nil
	}
	v, err := a.decide(ctx, request)
	if err != nil || v.condition == "" {
		return err
	}
	request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type:           v.condition,
		Status:         corev1.ConditionTrue,
		Reason:         v.reason,
		Message:        v.message,
		LastUpdateTime: metav1.Now(),
	})
	// After a conflict the queue has the newer request.
	if _, err := a.client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, request.Name, request, metav1.UpdateOptions{}); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return upstream.IgnorableError("request %s: %v", request.Name, err)
		}
		return fmt.Errorf("certificates: approval of request %s: %w", request.Name, err)
	}
	log := a.Logger.Info
	if v.condition == certificatesv1.CertificateDenied {
		log = a.Logger.Warn
	}
	log("certificate request "+strings.ToLower(string(v.condition)),
		zap.String("request", request.Name), zap.String("user", request.Spec.Username),
		zap.String("signer", request.Spec.SignerName), zap.String("reason", v.message))
	return nil
}

func (a *kubeletApprover) decide(ctx context.Context, request *certificatesv1.CertificateSigningRequest) (decision, error) {
	name, node := nodeidentifier.NewDefaultNodeIdentifier().NodeIdentity(&user.DefaultInfo{Name: request.Spec.Username, Groups: request.Spec.Groups})
	joins := slices.Contains(request.Spec.Groups, join.Group)
	if !node && !joins {
		return decision{}, nil
	}
	parsed, err := certificatesapi.ParseCSR(request.Spec.Request)
	if err != nil {
		return decision{}, fmt.Errorf("certificates: request %s: %w", request.Name, err)
	}
	switch signer := request.Spec.SignerName; {
	case joins:
		return a.decideJoin(ctx, request, parsed)
	case signer == certificatesv1.KubeAPIServerClientKubeletSignerName:
		return decideRenewal(request, parsed), nil
	case signer == certificatesv1.KubeletServingSignerName:
		return a.decideServing(ctx, request, parsed, name)
	default:
		return decision{}, nil
	}
}

// decideJoin decides about a request with a join token.
func (a *kubeletApprover) decideJoin(ctx context.Context, request *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest) (decision, error) {
	const reason = "JoinRequestDenied"
	switch signer := request.Spec.SignerName; {
	case signer == certificatesv1.KubeAPIServerClientKubeletSignerName:
	case strings.HasPrefix(signer, "kubernetes.io/"):
		return denied(reason, fmt.Sprintf("a join token is for signer %s only, not %s", certificatesv1.KubeAPIServerClientKubeletSignerName, signer)), nil
	default:
		return decision{}, nil // a signer of the host
	}
	if err := validKubeletClient(parsed, request.Spec.Usages); err != nil {
		return denied(reason, err.Error()), nil
	}
	name := strings.TrimPrefix(parsed.Subject.CommonName, nodeidentity.UserPrefix)
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return denied(reason, fmt.Sprintf("%.100q cannot be the name of a node: %s", name, strings.Join(problems, ", "))), nil
	}
	if a.names == nil {
		return denied(reason, "the name of a node is reserved in a Secret, and secrets are not served"), nil
	}
	problem, err := a.names.reserve(ctx, request, parsed, name)
	switch {
	case err != nil:
		return decision{}, fmt.Errorf("certificates: request %s: %w", request.Name, err)
	case problem != "":
		return denied(reason, problem), nil
	}
	return approved(joinApproved, fmt.Sprintf("First client certificate of node %s, for a join token.", name)), nil
}

// joinApproved is the reason of the approval of a join request.
const joinApproved = "JoinTokenApproved"

// decideRenewal decides about a node's request for a client certificate. Upstream's
// approver approves a valid one if RBAC allows it.
func decideRenewal(request *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest) decision {
	var problems []string
	if err := validKubeletClient(parsed, request.Spec.Usages); err != nil {
		problems = append(problems, err.Error())
	}
	problems = append(problems, otherCommonName(request, parsed)...)
	if len(problems) == 0 {
		return decision{}
	}
	return denied("NodeClientRequestDenied", problems...)
}

func otherCommonName(request *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest) []string {
	if parsed.Subject.CommonName == request.Spec.Username {
		return nil
	}
	return []string{fmt.Sprintf("common name %.100q is not that of the requester, %q", parsed.Subject.CommonName, request.Spec.Username)}
}
