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

// TestNamesOfATokenAreBounded: the thief of a join file must not fill etcd
// with names that no Node will have.
func TestNamesOfATokenAreBounded(t *testing.T) {
	n := &names{records: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{byToken: indexByToken}), duration: time.Hour, kubelets: time.Hour}
	of := func(token string) *certificatesv1.CertificateSigningRequest {
		return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{Username: "system:bootstrap:" + token}}
	}
	add := func(i int, registered bool) {
		t.Helper()
		record := &nodeidentity.Record{Node: fmt.Sprint("n", i)}
		record.Reserve(n.key(of("abcdef"), fmt.Sprint(i)))
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
	if problem := n.tooMany(of("abcdef")); problem != "" {
		t.Errorf("half of the names have Nodes: %s", problem)
	}
	for i := range maxUnregistered {
		add(i, false)
	}
	if problem := n.tooMany(of("abcdef")); !strings.Contains(problem, "-l join-token.kubembed.dev/abcdef") {
		t.Errorf("%q", problem)
	}
	if problem := n.tooMany(of("ghijkl")); problem != "" {
		t.Errorf("another token: %s", problem)
	}
}
