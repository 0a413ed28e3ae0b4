// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	certificatesapi "k8s.io/kubernetes/pkg/apis/certificates"
	upstream "k8s.io/kubernetes/pkg/controller/certificates"
	"k8s.io/kubernetes/pkg/controller/certificates/authority"
)

// signer signs approved requests, with the validation and the signing code of upstream's
// package signer. Upstream's signer reads the key of the CA from a file, and watches it
// with an inotify instance for each signer. A user has 128 of them. This one has the key
// in memory, and one queue for all signers.
type signer struct {
	client   kubernetes.Interface
	ca       *authority.CertificateAuthority
	duration time.Duration
	// servingCA signs serving certificates of kubelets, and ca all others.
	servingCA       *authority.CertificateAuthority
	kubeletDuration time.Duration // of certificates of kubelets that renew them
	names           *nodeNames    // nil where nothing can be recorded
	logger          *zap.Logger
}

// signers are the signers of kube-controller-manager, except
// kubernetes.io/legacy-unknown: certificates.k8s.io/v1 rejects requests for it.
var signers = map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error{
	certificatesv1.KubeAPIServerClientKubeletSignerName: validKubeletClient,
	certificatesv1.KubeletServingSignerName:             validKubeletServing,
	certificatesv1.KubeAPIServerClientSignerName:        validClient,
}

// Constants of upstream's signer.
const (
	backdate    = 5 * time.Minute
	short       = 8 * time.Hour
	minDuration = 10 * time.Minute
)

func (s *signer) handle(ctx context.Context, request *certificatesv1.CertificateSigningRequest) error {
	if !upstream.IsCertificateRequestApproved(request) || upstream.HasTrueCondition(request, certificatesv1.CertificateFailed) {
		return nil
	}
	valid, ours := signers[request.Spec.SignerName]
	if !ours {
		return nil
	}
	parsed, err := certificatesapi.ParseCSR(request.Spec.Request)
	if err != nil {
		return fmt.Errorf("certificates: request %s: %w", request.Name, err)
	}
	refusal := valid(parsed, request.Spec.Usages)
	if refusal == nil && s.names != nil {
		if refusal, err = s.names.bind(ctx, request, parsed); err != nil {
			return fmt.Errorf("certificates: request %s: %w", request.Name, err)
		}
	}
	if refusal != nil {
		request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type:           certificatesv1.CertificateFailed,
			Status:         corev1.ConditionTrue,
			Reason:         "SignerValidationFailure",
			Message:        refusal.Error(),
			LastUpdateTime: metav1.Now(),
		})
	} else {
		ca := s.ca
		if request.Spec.SignerName == certificatesv1.KubeletServingSignerName {
			ca = s.servingCA
		}
		der, err := ca.Sign(parsed.Raw, authority.PermissiveSigningPolicy{
			TTL:      s.lifetime(request),
			Usages:   request.Spec.Usages,
			Backdate: backdate,
			Short:    short,
		})
		if err != nil {
			return fmt.Errorf("certificates: signing request %s: %w", request.Name, err)
		}
		request.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	if _, err := s.client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, request, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("certificates: status of request %s: %w", request.Name, err)
	}
	s.log(request, refusal)
	return nil
}

// log logs the result, with the same keys as the approver.
func (s *signer) log(request *certificatesv1.CertificateSigningRequest, refusal error) {
	fields := []zap.Field{zap.String("request", request.Name), zap.String("user", request.Spec.Username), zap.String("signer", request.Spec.SignerName)}
	if refusal != nil {
		s.logger.Warn("certificate request refused by the signer", append(fields, zap.String("reason", refusal.Error()))...)
		return
	}
	s.logger.Info("certificate signed", fields...)
}

func validKubeletClient(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	return certificatesapi.ValidateKubeletClientCSR(request, usageSet(usages))
}

func validKubeletServing(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	return certificatesapi.ValidateKubeletServingCSR(request, usageSet(usages))
}

// validClient accepts any user: the approval is about the user.
func validClient(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	client := false
	for _, usage := range usages {
		switch usage {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		case certificatesv1.UsageClientAuth:
			client = true
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", usage)
		}
	}
	if !client {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

func usageSet(usages []certificatesv1.KeyUsage) sets.String { //nolint:staticcheck // upstream takes it
	set := sets.NewString()
	for _, usage := range usages {
		set.Insert(string(usage))
	}
	return set
}
