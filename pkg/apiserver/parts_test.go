package apiserver_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestReadyzChecksAreNotAwaited: they are there, and Start returns while they
// are red.
func TestReadyzChecksAreNotAwaited(t *testing.T) {
	p := startPlane(t, func(c *apiserver.Config) {
		c.ReadyzChecks = []healthz.HealthChecker{healthz.NamedCheck("part/red", func(*http.Request) error { return errors.New("no") })}
	})
	client := kubernetes.NewForConfigOrDie(p.ClientConfig()).RESTClient()
	body, err := client.Get().AbsPath("/readyz").DoRaw(t.Context())
	if err == nil || !strings.Contains(string(body), "[-]part/red failed") || strings.Count(string(body), "[-]") != 1 {
		t.Errorf("/readyz: %v\n%s", err, body)
	}
}

// TestClientConfigAs: each user is who it is said to be.
func TestClientConfigAs(t *testing.T) {
	p := sharedPlane(t)
	for _, name := range []string{"system:one", "system:two"} {
		config, err := p.ClientConfigAs(name, "system:masters")
		if err != nil {
			t.Fatal(err)
		}
		review, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().
			Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		who := review.Status.UserInfo
		if who.Username != name || !slices.Equal(who.Groups, []string{"system:authenticated", "system:masters"}) {
			t.Errorf("%s is %+v", name, who)
		}
	}
}

// TestCopyOfClientConfigAs: it has a token, and whose certificate a copy shows is who
// the copy is, as with kube-apiserver. The token counted.
func TestCopyOfClientConfigAs(t *testing.T) {
	p := sharedPlane(t)
	config := must(p.ClientConfigAs("system:part", "system:masters"))(t)
	pair := must(p.pki.IssueClient("jane", nil, 0))(t)
	config.CertData, config.KeyData = pair.Cert, pair.Key
	review, err := clientset(t, config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || review.Status.UserInfo.Username != "jane" {
		t.Errorf("%v, %v, want jane", review, err)
	}
}
