// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// TestExternalCAs: one CA signs the serving certificate, another the client certificate,
// and neither is the server's own.
func TestExternalCAs(t *testing.T) {
	t.Parallel()
	serving, clients := must(pki.Open(pki.Config{}))(t), must(pki.Open(pki.Config{}))(t)
	p := startPlane(t, func(c *apiserver.Config) {
		c.PKI = must(pki.Open(pki.Config{Serving: serving.Serving(), ClientCAs: clients.CABundle()}))(t)
	})
	config := func(issuer *pki.PKI) *rest.Config {
		pair := must(issuer.IssueClient("jane", []string{"system:masters"}, 0))(t)
		return &rest.Config{Host: p.URL(), TLSClientConfig: rest.TLSClientConfig{
			CAData: serving.CABundle(), CertData: pair.Cert, KeyData: pair.Key,
		}}
	}
	wantUser(t, config(clients), "jane", "system:masters", "system:authenticated")
	wantNobody(t, config(serving))

	// Extension API servers read the client CA from a ConfigMap, a moment after the
	// start.
	testwait.Until(t, "the CA is published", func(context.Context) error {
		trust, err := p.admin().CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
		if err == nil && !strings.Contains(trust.Data["client-ca-file"], string(clients.CABundle())) {
			err = errors.New("it is not in the ConfigMap")
		}
		return err
	})
}

func TestAuthorizationModes(t *testing.T) {
	t.Parallel()
	p := startPlane(t, func(c *apiserver.Config) { c.Authorization.Modes = []string{"RBAC"} })
	_, err := p.node(t, "one").CoreV1().Nodes().Get(t.Context(), "one", metav1.GetOptions{})
	wantForbidden(t, "reading its node without the Node authorizer", err)

	p = startPlane(t, func(c *apiserver.Config) { c.Authorization.Modes = []string{"AlwaysAllow"} })
	nobody := must(p.pki.IssueClient("nobody", nil, 0))(t)
	must(clientset(t, p.with(nobody)).CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}))(t)
}
