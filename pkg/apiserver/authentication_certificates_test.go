// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/revocation"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// published returns a value of the ConfigMap that aggregated API servers read, when it
// has the CA. The server writes it a moment after the start.
func published(t testing.TB, p *plane, key string, ca []byte) map[string]string {
	t.Helper()
	var data map[string]string
	testwait.Until(t, "the CA is published", func(ctx context.Context) error {
		trust, err := p.admin().CoreV1().ConfigMaps("kube-system").Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !strings.Contains(trust.Data[key], strings.TrimSpace(string(ca))) {
			return errors.New("it is not in the ConfigMap")
		}
		data = trust.Data
		return nil
	})
	return data
}

// TestClientCAsOfTheHost verifies that a CA of the host names users, and nobody that only
// the control plane may name.
func TestClientCAsOfTheHost(t *testing.T) {
	host := must(pki.Open(pki.Config{}))(t)
	core, logs := observer.New(zap.WarnLevel)
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authentication.ClientCAs = host.CABundle()
		c.Logger = zap.New(core)
	})
	issue := func(user string, groups ...string) pki.KeyPair { return must(host.IssueClient(user, groups, 0))(t) }
	wantUser(t, p.with(issue("jane", "dev")), "jane", "dev", "system:authenticated")
	wantUser(t, p.with(issue("jane", "dev")), "jane", "dev", "system:authenticated")
	wantUser(t, p.as(t, "john", "ops"), "john", "ops", "system:authenticated")
	for _, refused := range []pki.KeyPair{
		issue("system:node:worker", "system:nodes"),
		issue("system:node:worker"),
		issue("jane", "system:nodes"),
		issue("jane", "dev", "system:masters"),
		issue("system:kube-controller-manager"),
		issue("kube-apiserver-kubelet-client"),
		issue(apiserver.AdminUser),
		host.KubeletClient(),
	} {
		wantNobody(t, p.with(refused))
		wantNobody(t, p.with(refused)) // it is not in a cache
	}
	if n := logs.FilterMessageSnippet("only the control plane's own CA may name its users and groups").Len(); n == 0 {
		t.Error("the refusals are not in the log")
	}
	// A token beside such a certificate still counts.
	token := p.with(issue("jane", "system:masters"))
	token.BearerToken = account(t, p, p.namespace(t), "robot", authenticationv1.TokenRequestSpec{})
	if user := must(whoAmI(t, token))(t); !strings.HasSuffix(user.Username, ":robot") {
		t.Errorf("authenticated as %q, want the token's user", user.Username)
	}
	other := must(pki.Open(pki.Config{}))(t)
	wantNobody(t, p.with(must(other.IssueClient("jane", nil, 0))(t)))
	data := published(t, p, "client-ca-file", host.CABundle())
	if !strings.Contains(data["client-ca-file"], strings.TrimSpace(string(p.pki.CABundle()))) {
		t.Error("PKI's CA is not published any more")
	}

	revoked := issue("jane")
	wantUser(t, p.with(revoked), "jane", "system:authenticated")
	p.revoke(t, revoked)
}

// TestProxyOfTheHost verifies that a proxy of the host names users beside the
// aggregator's own identity.
func TestProxyOfTheHost(t *testing.T) {
	host := must(pki.Open(pki.Config{}))(t)
	p := startPlane(t, func(c *apiserver.Config) {
		c.Authentication.RequestHeader = apiserver.RequestHeader{
			CAs: host.CABundle(), AllowedNames: []string{"gateway"},
			UsernameHeaders: []string{"X-Gateway-User"}, GroupHeaders: []string{"X-Gateway-Group"}, ExtraHeaderPrefixes: []string{"X-Gateway-Extra-"},
		}
	})
	who := func(pair pki.KeyPair, headers ...string) (user authenticationv1.UserInfo, status int) {
		t.Helper()
		a := p.call(t, p.httpClient(t, pair), http.MethodPost, selfSubjectReviews, `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`, headers...)
		var review authenticationv1.SelfSubjectReview
		if err := json.Unmarshal([]byte(a.body), &review); err != nil && a.status == http.StatusCreated {
			t.Fatal(err)
		}
		return review.Status.UserInfo, a.status
	}
	issue := func(issuer *pki.PKI, name string) pki.KeyPair { return must(issuer.IssueClient(name, nil, 0))(t) }
	gateway := []string{"X-Gateway-User: jane", "X-Gateway-Group: dev", "X-Gateway-Extra-Scope: some"}
	if user, status := who(issue(host, "gateway"), gateway...); user.Username != "jane" || !slices.Equal(user.Groups, []string{"dev", "system:authenticated"}) || !slices.Equal(user.Extra["scope"], []string{"some"}) {
		t.Errorf("got %d %+v, want jane", status, user)
	}
	standard := []string{"X-Remote-User: jane", "X-Remote-Group: dev"}
	for name, c := range map[string]struct {
		pair    pki.KeyPair
		headers []string
		want    string // the user, if any
	}{
		"another name":                   {issue(host, "other"), gateway, ""},
		"the proxy without headers":      {issue(host, "gateway"), nil, ""},
		"the proxy, headers of another":  {issue(host, "gateway"), standard, ""},
		"the name by PKI":                {issue(p.pki, "gateway"), gateway, "gateway"},
		"the aggregator":                 {p.pki.FrontProxyClient(), standard, "jane"},
		"the aggregator, others' header": {p.pki.FrontProxyClient(), gateway, ""},
		"the aggregator's name":          {issue(host, "front-proxy-client"), standard, ""},
	} {
		user, status := who(c.pair, c.headers...)
		if want := http.StatusUnauthorized; c.want == "" && status != want || user.Username != c.want {
			t.Errorf("%s: got %d and user %q, want %q", name, status, user.Username, c.want)
		}
	}
	data := published(t, p, "requestheader-client-ca-file", host.CABundle())
	for key, want := range map[string]string{
		"requestheader-allowed-names":        `["front-proxy-client","gateway"]`,
		"requestheader-username-headers":     `["X-Remote-User","X-Gateway-User"]`,
		"requestheader-group-headers":        `["X-Remote-Group","X-Gateway-Group"]`,
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-","X-Gateway-Extra-"]`,
	} {
		if data[key] != want {
			t.Errorf("%s: got %s, want %s", key, data[key], want)
		}
	}
	if ca := strings.TrimSpace(string(p.pki.FrontProxyCABundle())); !strings.Contains(data["requestheader-client-ca-file"], ca) {
		t.Error("the aggregator's CA is not published any more")
	}
}

// TestCAsOfPKIAsTheHosts verifies that the host cannot name a CA of the control plane
// again, with other rules.
func TestCAsOfPKIAsTheHosts(t *testing.T) {
	root := newAuthority(t, nil)
	below := newAuthority(t, newAuthority(t, root))
	for _, test := range []struct {
		want string
		set  func(*apiserver.Config)
	}{
		{"Authentication.ClientCAs: Invalid value: has a CA of PKI", func(c *apiserver.Config) { c.Authentication.ClientCAs = c.PKI.CABundle() }},
		{"Authentication.RequestHeader.AllowedNames: Required value: CAs has", func(c *apiserver.Config) { c.Authentication.RequestHeader.CAs = c.PKI.CABundle() }},
		{"Authentication.RequestHeader.AllowedNames: Required value: CAs has", func(c *apiserver.Config) {
			c.PKI = must(pki.Open(pki.Config{ClientCAs: below.cert}))(t)
			c.Authentication.RequestHeader.CAs = root.cert
		}},
	} {
		want := test.want
		p, err := newPlane(t.TempDir(), test.set)
		if !contains(err, want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if err == nil {
			t.Error(p.close())
		}
	}
	// kube-apiserver's stand-in follows kube-apiserver.
	p, err := newPlane(t.TempDir(), func(c *apiserver.Config) {
		c.Authentication.RequestHeader.CAs = c.PKI.CABundle()
		access.SetLenient(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
}

// revoke revokes a client certificate, and waits until the server refuses it.
func (p *plane) revoke(t *testing.T, pair pki.KeyPair) {
	t.Helper()
	secret := must(revocation.New(must(cert.ParseCertsPEM(pair.Cert))(t)[0]))(t)
	secret = must(p.admin().CoreV1().Secrets(secret.Namespace).Create(t.Context(), secret, metav1.CreateOptions{}))(t)
	if err := p.WaitForRevokedCertificate(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the certificate is refused", func(context.Context) error {
		if user, err := whoAmI(t, p.with(pair)); !apierrors.IsUnauthorized(err) { // its connection may be closing
			return fmt.Errorf("authenticated as %q, %w", user.Username, err)
		}
		return nil
	})
}
