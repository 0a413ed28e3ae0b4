// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Embedded-auth gives the users of a web program a Kubernetes API. The program's session
// cookies authenticate them, its table authorizes them, and an admission plugin labels
// their ConfigMaps with their cost centre. No other program takes part.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// The sessions and the table of rights would be in the program's database. By the prefix,
// a certificate for alice has no rights of her session.
var sessions = map[string]user.DefaultInfo{
	"s-4711": {Name: "session:alice", Extra: map[string][]string{"cost-centre": {"shop"}}},
	"s-4712": {Name: "session:bob", Extra: map[string][]string{"cost-centre": {"press"}}},
}
var rights = map[string][]string{"session:alice": {"get", "list", "create"}, "session:bob": {"get"}}

// authenticate returns the user of the session cookie of a request.
func authenticate(r *http.Request) (*authenticator.Response, bool, error) {
	cookies := r.CookiesNamed("session")
	if len(cookies) == 0 {
		return nil, false, nil // not ours: a client with a certificate or a token
	}
	// Browsers also send cookies with the requests of other sites' pages (CSRF).
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return nil, false, errors.New("a page of another site made the request")
	}
	who, ok := sessions[cookies[0].Value]
	if !ok {
		return nil, false, errors.New("the session has expired")
	}
	r.Header.Del("Cookie") // nothing behind the API server gets it
	return &authenticator.Response{User: &who}, true, nil
}

// authorize knows the rights of users of the program. RBAC decides about all others.
func authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	verbs, ok := rights[a.GetUser().GetName()]
	switch {
	case !ok || !a.IsResourceRequest():
		return authorizer.DecisionNoOpinion, "", nil
	case a.GetAPIGroup() == "" && a.GetResource() == "configmaps" && slices.Contains(verbs, a.GetVerb()):
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionDeny, "not in the table of rights", nil
}

// stamp is an admission plugin that labels ConfigMaps with the cost centre of the user.
type stamp struct{}

func newStamp() (admission.Interface, error)     { return stamp{}, nil }
func (stamp) Handles(o admission.Operation) bool { return o == admission.Create }

func (stamp) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	centre := a.GetUserInfo().GetExtra()["cost-centre"]
	if len(centre) == 0 || a.GetResource().GroupResource() != corev1.Resource("configmaps") {
		return nil
	}
	object, err := meta.Accessor(a.GetObject())
	if err == nil {
		object.SetLabels(labels.Merge(object.GetLabels(), labels.Set{"cost-centre": centre[0]}))
	}
	return err
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	var config controlplane.Config
	config.Authentication.Before = []authenticator.Request{authenticator.RequestFunc(authenticate)}
	config.Authorization.Authorizers = []apiserver.Authorizer{
		{Name: "rights", Authorizer: authorizer.AuthorizerFunc(authorize), Before: "rbac"},
	}
	config.Admission.Plugins = []apiserver.AdmissionPlugin{{Name: "CostCentre", New: newStamp}}
	cp, err := controlplane.Start(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()
	client, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(cp.ClientConfig()))
	if err != nil {
		return err
	}
	for _, session := range []string{"s-4711", "s-4712"} {
		made := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "of-" + session}}
		err := client.CoreV1().RESTClient().Post().Namespace("default").Resource("configmaps").
			SetHeader("Cookie", "session="+session).Body(&made).Do(ctx).Into(&made)
		fmt.Fprintf(out, "%s: labels %v, error %v\n", sessions[session].Name, made.Labels, err)
	}
	return nil
}
