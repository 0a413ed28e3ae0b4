// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Embedded-auth gives the users of a web program a Kubernetes API. The program's session
// cookies authenticate them, its table authorizes them, and an admission plugin labels
// their objects with their cost centre. No other program takes part.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

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
var rights = map[string]map[string]bool{"session:alice": {"get": true, "list": true, "create": true}, "session:bob": {"get": true}}

// authenticate returns the user of the session cookie of a request.
func authenticate(r *http.Request) (*authenticator.Response, bool, error) {
	cookies := r.CookiesNamed("session")
	if len(cookies) == 0 {
		return nil, false, nil // not ours: a client with a certificate or a token
	}
	who, ok := sessions[cookies[0].Value] // browsers also send cookies for the pages of other sites (CSRF)
	if site := r.Header.Get("Sec-Fetch-Site"); !ok || site != "" && site != "same-origin" {
		return nil, false, errors.New("the session has expired, or a page of another site made the request")
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
	case a.GetAPIGroup() == "" && a.GetResource() == "configmaps" && verbs[a.GetVerb()]:
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionDeny, "not in the table of rights", nil
}

// stamp is an admission plugin that labels objects with the cost centre of the user.
type stamp struct{ *admission.Handler }

func (stamp) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	centre := a.GetUserInfo().GetExtra()["cost-centre"]
	object, err := meta.Accessor(a.GetObject())
	if err == nil && len(centre) == 1 {
		object.SetLabels(labels.Merge(object.GetLabels(), labels.Set{"cost-centre": centre[0]}))
	}
	return err
}

// withCookie is the transport of a client that has logged in.
type withCookie struct {
	session string
	next    http.RoundTripper
}

func (t withCookie) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.AddCookie(&http.Cookie{Name: "session", Value: t.session})
	return t.next.RoundTrip(r)
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	cp, err := controlplane.Start(ctx, controlplane.Config{
		Authentication: apiserver.Authentication{Before: []authenticator.Request{authenticator.RequestFunc(authenticate)}},
		Authorization:  apiserver.Authorization{Authorizers: []apiserver.Authorizer{{Name: "rights", Authorizer: authorizer.AuthorizerFunc(authorize), Before: "rbac"}}},
		Admission: apiserver.Admission{Plugins: []apiserver.AdmissionPlugin{{Name: "CostCentre", New: func() (admission.Interface, error) {
			return stamp{admission.NewHandler(admission.Create)}, nil
		}}}}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()
	for _, session := range []string{"s-4711", "s-4712"} {
		config := rest.AnonymousClientConfig(cp.ClientConfig())
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return withCookie{session, next} })
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		made, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "of-" + session}}, metav1.CreateOptions{})
		fmt.Fprintf(out, "%s: labels %v, error %v\n", sessions[session].Name, made.Labels, err)
	}
	return nil
}
