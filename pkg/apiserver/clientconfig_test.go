package apiserver_test

import (
	"slices"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

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
