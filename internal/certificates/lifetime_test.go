// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kubembed/kubembed/internal/join"
)

func TestLifetime(t *testing.T) {
	const year, month = 365 * 24 * time.Hour, 30 * 24 * time.Hour
	for _, c := range []struct {
		name             string
		others, kubelets time.Duration
		seconds          *int32
		signer, user     string
		groups           []string
		generateName     string
		want             time.Duration
	}{
		{name: "not said", others: time.Hour, want: time.Hour},
		{name: "less", others: time.Hour, seconds: ptr.To[int32](1800), want: 30 * time.Minute},
		{name: "more", others: time.Hour, seconds: ptr.To[int32](7200), want: time.Hour},
		{name: "too little", others: time.Hour, seconds: ptr.To[int32](60), want: 10 * time.Minute},
		{name: "configured for less than the least", others: time.Minute, seconds: ptr.To[int32](30), want: time.Minute},

		{name: "a user", others: year, kubelets: month, signer: certificatesv1.KubeAPIServerClientSignerName, generateName: "csr-", want: year},
		{name: "serving", others: year, kubelets: month, signer: certificatesv1.KubeletServingSignerName, want: month},
		{name: "serving, for more", others: year, kubelets: month, seconds: ptr.To[int32](1 << 30), signer: certificatesv1.KubeletServingSignerName, want: month},
		{name: "renewal", others: year, kubelets: month, signer: certificatesv1.KubeAPIServerClientKubeletSignerName,
			user: "system:node:n1", groups: []string{"system:nodes"}, want: month},
		{name: "joins and renews", others: year, kubelets: month, signer: certificatesv1.KubeAPIServerClientKubeletSignerName,
			user: "system:bootstrap:abcdef", groups: []string{join.Group}, generateName: "csr-", want: month},
		{name: "joins and does not renew", others: year, kubelets: month, signer: certificatesv1.KubeAPIServerClientKubeletSignerName,
			user: "system:bootstrap:abcdef", groups: []string{join.Group}, want: year},
		{name: "approved by hand", others: year, kubelets: month, signer: certificatesv1.KubeAPIServerClientKubeletSignerName,
			user: "jane", generateName: "csr-", want: year},
	} {
		request := &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{GenerateName: c.generateName},
			Spec:       certificatesv1.CertificateSigningRequestSpec{ExpirationSeconds: c.seconds, SignerName: c.signer, Username: c.user, Groups: c.groups},
		}
		if got := lifetime(request, c.others, c.kubelets); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
