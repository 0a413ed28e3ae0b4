// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"fmt"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// TestNamesPerTokenAreLimited: a stolen join file must not fill etcd with reservations.
func TestNamesPerTokenAreLimited(t *testing.T) {
	n := &nodeNames{records: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{byToken: indexByToken}), duration: time.Hour, kubeletDuration: time.Hour}
	csrOf := func(token string) *certificatesv1.CertificateSigningRequest {
		return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{Username: "system:bootstrap:" + token}}
	}
	add := func(i int, registered bool) {
		t.Helper()
		record := &nodeidentity.Record{Node: fmt.Sprint("n", i)}
		record.Reserve(n.key(csrOf("abcdef"), fmt.Sprint(i)))
		if registered {
			record.NodeUID = "there"
		}
		secret, err := nodeidentity.New(record)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.records.Update(secret); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxUnregistered {
		add(i, i%2 == 0)
	}
	if problem := n.checkTokenLimit(csrOf("abcdef")); problem != "" {
		t.Errorf("with Nodes for half of the names: got %q, want no problem", problem)
	}
	for i := range maxUnregistered {
		add(i, false)
	}
	if problem := n.checkTokenLimit(csrOf("abcdef")); !strings.Contains(problem, "-l join-token.kubembed.dev/abcdef") {
		t.Errorf("got %q, want the label selector of the token", problem)
	}
	if problem := n.checkTokenLimit(csrOf("ghijkl")); problem != "" {
		t.Errorf("another token: got %q, want no problem", problem)
	}
}
