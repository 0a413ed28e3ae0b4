// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/internal/testwait"
)

// denier is an authorization webhook that denies everything.
type denier struct {
	kubeconfig string

	mu    sync.Mutex
	users []string // in the questions
}

func newDenier(t *testing.T) *denier {
	t.Helper()
	d := &denier{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	server := httptest.NewTLSServer(d)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"one": {Server: server.URL, CertificateAuthorityData: ca}},
		Contexts:       map[string]*clientcmdapi.Context{"one": {Cluster: "one"}},
		CurrentContext: "one",
	}, d.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *denier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review authorizationv1.SubjectAccessReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	d.users = append(d.users, review.Spec.User)
	d.mu.Unlock()
	review.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "not by me"}
	_ = json.NewEncoder(w).Encode(review)
}

// TestWebhookThatDeniesAll verifies that the program starts with a webhook that denies
// the users of a control plane, and does not ask it about them, like kube-apiserver. The
// errors of a start name flags.
func TestWebhookThatDeniesAll(t *testing.T) {
	t.Parallel()
	d := newDenier(t)
	c := startCluster(t, "--authorization-mode=Webhook", "--authorization-webhook-config-file="+d.kubeconfig,
		"--authorization-webhook-version=v1", "--core-controllers")
	// The controllers run when the start has ended.
	admin := c.client(t, "admin", "system:masters")
	testwait.UntilWithin(t, waitTimeout, "the service account default", func(ctx context.Context) error {
		select {
		case <-c.apiserver.ended:
			t.Fatalf("the program has ended: %v", c.apiserver.err)
		default:
		}
		_, err := admin.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	certificate := c.certificate(t, "admin", "system:masters")
	testwait.UntilWithin(t, waitTimeout, "/readyz", func(context.Context) error {
		if response, body := c.answer(t, "/readyz", "", certificate); response.StatusCode != http.StatusOK {
			return fmt.Errorf("got %s, %s", response.Status, body)
		}
		return nil
	})
	if _, err := c.client(t, "jane").CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "not by me") {
		t.Errorf("jane: got %v, want the answer of the webhook", err)
	}
	d.mu.Lock()
	if d.users = slices.Compact(d.users); !slices.Equal(d.users, []string{"jane"}) {
		t.Errorf("the webhook was asked about %q, want jane only", d.users)
	}
	d.mu.Unlock()

	if err := c.apiserver.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := c.apiserver.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	again := start(t, "kube-apiserver", append(slices.Clone(c.apiserver.cmd.Args[1:]), "--service-cluster-ip-range=10.1.0.0/24")...)
	const want = "--service-cluster-ip-range: it is 10.1.0.0/24"
	if code := again.wait(t); code == 0 || !strings.Contains(again.output.String(), want) {
		t.Errorf("exit code %d, want an error with %q:\n%s", code, want, again.output.String())
	}
}
