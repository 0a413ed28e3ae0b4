// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/join"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

const (
	longSecret  = "2mn4qzx7w3kfh5j6t2bvcy4rda" // as long as the secrets of JoinKubeconfig
	shortSecret = "0123456789abcdef"           // as long as the secrets of kubeadm
)

// loggingPlane starts a plane and returns its log.
func loggingPlane(t testing.TB) (*plane, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	return startPlane(t, func(c *apiserver.Config) { c.Logger = zap.New(core) }), logs
}

// tokenSecret returns the Secret of a valid token, with changes.
func tokenSecret(id, secret string, changes ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + id},
		Type:       corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{
			"token-id": []byte(id), "token-secret": []byte(secret),
			"usage-bootstrap-authentication": []byte("true"),
			"expiration":                     []byte(time.Now().Add(time.Hour).UTC().Format(time.RFC3339)),
		},
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

func data(key, value string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.Data[key] = []byte(value) }
}

func (p *plane) createSecret(t testing.TB, s *corev1.Secret) {
	t.Helper()
	secrets := p.admin().CoreV1().Secrets(s.Namespace)
	must(secrets.Create(t.Context(), s, metav1.CreateOptions{}))(t)
	t.Cleanup(func() {
		if err := secrets.Delete(context.Background(), s.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}

// TestBootstrapToken does not wait: a token works as soon as its Secret exists.
func TestBootstrapToken(t *testing.T) {
	p := sharedPlane(t)
	for id, test := range map[string]struct {
		secret *corev1.Secret
		groups []string
	}{
		"short0": {tokenSecret("short0", shortSecret), nil},
		"long00": {tokenSecret("long00", longSecret, data("auth-extra-groups", join.Group)), []string{join.Group}},
		"longer": {tokenSecret("longer", strings.Repeat("z", 64)), nil},
		"groups": {tokenSecret("groups", shortSecret, data("auth-extra-groups", "system:bootstrappers:a,system:bootstrappers:b")),
			[]string{"system:bootstrappers:a", "system:bootstrappers:b"}},
		"always": {tokenSecret("always", longSecret, func(s *corev1.Secret) { delete(s.Data, "expiration") }), nil},
	} {
		p.createSecret(t, test.secret)
		wantUser(t, p.bearer(id+"."+string(test.secret.Data["token-secret"])), "system:bootstrap:"+id,
			append(test.groups, "system:authenticated", "system:bootstrappers")...)
	}
}

func TestRefusedBootstrapToken(t *testing.T) {
	p, logs := loggingPlane(t)
	ns := p.namespace(t)
	past := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	usage := "usage-bootstrap-authentication"
	for _, s := range []*corev1.Secret{
		tokenSecret("valid0", longSecret),
		tokenSecret("short0", shortSecret),
		tokenSecret("other0", strings.Repeat("x", 26)),
		tokenSecret("old000", longSecret, data("expiration", past)),
		tokenSecret("nodate", longSecret, data("expiration", "tomorrow")),
		tokenSecret("nouse0", longSecret, func(s *corev1.Secret) { delete(s.Data, usage) }),
		tokenSecret("sign00", longSecret, data(usage, "false"), data("usage-bootstrap-signing", "true")),
		tokenSecret("badgrp", longSecret, data("auth-extra-groups", "system:masters")),
		tokenSecret("opaque", longSecret, func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }),
		tokenSecret("nodata", longSecret, func(s *corev1.Secret) { s.Data = nil; s.Type = corev1.SecretTypeOpaque }),
		tokenSecret("wrngid", longSecret, data("token-id", "valid0"), func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }),
		tokenSecret("elsewh", longSecret, func(s *corev1.Secret) { s.Namespace = ns }),
		tokenSecret("ending", longSecret, func(s *corev1.Secret) { s.Finalizers = []string{"example.com/stays"} }),
	} {
		p.createSecret(t, s)
	}
	if err := p.admin().CoreV1().Secrets(metav1.NamespaceSystem).Delete(t.Context(), "bootstrap-token-ending", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ token, reason string }{
		"unknown":                      {"nobody." + longSecret, "no such token"},
		"in another namespace":         {"elsewh." + longSecret, "no such token"},
		"wrong secret":                 {"valid0." + strings.Repeat("y", 26), "secret is wrong"},
		"wrong short secret":           {"short0.fedcba9876543210", "secret is wrong"},
		"the first 16 characters":      {"valid0." + longSecret[:16], "secret is wrong"},
		"all but the last character":   {"valid0." + longSecret[:25], "secret is wrong"},
		"one character too many":       {"valid0." + longSecret + "a", "secret is wrong"},
		"a short secret made longer":   {"short0." + shortSecret + "aaaaaaaaaa", "secret is wrong"},
		"the secret of another token":  {"other0." + longSecret, "secret is wrong"},
		"no data":                      {"nodata." + longSecret, "secret is wrong"},
		"expired":                      {"old000." + longSecret, "it expired at " + past},
		"expires at no time":           {"nodate." + longSecret, "it expired at tomorrow"},
		"without usage":                {"nouse0." + longSecret, "not for authentication"},
		"for signing":                  {"sign00." + longSecret, "not for authentication"},
		"a group that is none of them": {"badgrp." + longSecret, `"system:masters" is invalid`},
		"not a token's Secret":         {"opaque." + longSecret, "not of type bootstrap.kubernetes.io/token"},
		"being deleted":                {"ending." + longSecret, "being deleted"},
		"too short":                    {"valid0." + longSecret[:15], "malformed"},
		"too long":                     {"valid0." + strings.Repeat("a", 65), "malformed"},
		"upper case":                   {"valid0." + strings.ToUpper(longSecret), "malformed"},
		"no secret":                    {"valid0.", "malformed"},
		"three parts":                  {"valid0." + longSecret + "." + longSecret, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			// The log gets a few lines per second: the first attempt may have none.
			testwait.Until(t, "the reason in the log", func(context.Context) error {
				wantNobody(t, p.bearer(test.token))
				var reasons []string
				for _, entry := range refusals(logs) {
					fields := entry.ContextMap()
					reason, _ := fields["reason"].(string)
					client, _ := fields["client"].(string)
					if fields["token-id"] == test.token[:6] && strings.Contains(reason, test.reason) && strings.HasPrefix(client, "127.0.0.1:") && entry.Level == zapcore.WarnLevel {
						return nil
					}
					reasons = append(reasons, fmt.Sprint(fields))
				}
				return errors.New(strings.Join(reasons, "\n"))
			})
		})
	}
	wantUser(t, p.bearer("valid0."+longSecret), "system:bootstrap:valid0", "system:authenticated", "system:bootstrappers")
	wantNoSecrets(t, logs)
}

func refusals(logs *observer.ObservedLogs) []observer.LoggedEntry {
	return logs.FilterMessage("a bootstrap token was refused").All()
}

func wantNoSecrets(t testing.TB, logs *observer.ObservedLogs) {
	t.Helper()
	for _, entry := range logs.All() {
		line := entry.Message + fmt.Sprint(entry.ContextMap())
		for _, secret := range []string{longSecret[:15], shortSecret, strings.Repeat("x", 15), strings.Repeat("y", 15), strings.Repeat("a", 15)} {
			if strings.Contains(strings.ToLower(line), secret) {
				t.Errorf("the log has a secret: %s", line)
			}
		}
	}
}

// TestBootstrapTokenIsRevokedAtOnce: upstream caches tokens for ten seconds, and
// informers lag.
func TestBootstrapTokenIsRevokedAtOnce(t *testing.T) {
	p := sharedPlane(t)
	secrets := p.admin().CoreV1().Secrets(metav1.NamespaceSystem)
	for i := range 50 {
		s := tokenSecret(fmt.Sprintf("revo%02d", i), longSecret)
		// Requests in this process overtake the informer.
		token := p.ClientConfig()
		token.BearerToken = strings.TrimPrefix(s.Name, "bootstrap-token-") + "." + longSecret
		p.createSecret(t, s)
		if _, err := whoAmI(t, token); err != nil {
			t.Fatalf("a new token: got %v, want no error", err)
		}
		if err := secrets.Delete(t.Context(), s.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		wantNobody(t, token)
	}
}

func TestBootstrapTokenExpiresAtOnce(t *testing.T) {
	p := sharedPlane(t)
	s := tokenSecret("expire", longSecret)
	p.createSecret(t, s)
	token := p.bearer("expire." + longSecret)
	if _, err := whoAmI(t, token); err != nil {
		t.Fatal(err)
	}
	data("expiration", time.Now().Add(-time.Second).UTC().Format(time.RFC3339))(s)
	must(p.admin().CoreV1().Secrets(s.Namespace).Update(t.Context(), s, metav1.UpdateOptions{}))(t)
	wantNobody(t, token)
}

// TestRefusedTokensDoNotFloodTheLog is about the log lines of this package. For all
// lines, including upstream's, see TestStrangersDoNotFloodTheLog in package controlplane.
func TestRefusedTokensDoNotFloodTheLog(t *testing.T) {
	p, logs := loggingPlane(t)
	client := p.httpClient(t, pki.KeyPair{})
	const tries = 300
	start := time.Now()
	for i := range tries {
		p.call(t, client, http.MethodGet, "/api", "", fmt.Sprintf("Authorization: Bearer try%03d.%s", i, longSecret)).want(t, http.StatusUnauthorized)
	}
	seconds := int(time.Since(start)/time.Second) + 2
	if got := len(refusals(logs)); got == 0 || got > 5*seconds && got > tries/10 {
		t.Errorf("got %d lines for %d tokens in %d s, want five per second", got, tries, seconds)
	}
	wantNoSecrets(t, logs)
}

func TestOtherTokensAreNotLogged(t *testing.T) {
	p, logs := loggingPlane(t)
	ns := p.namespace(t)
	wantUser(t, p.bearer(account(t, p, ns, "robot", authenticationv1.TokenRequestSpec{})), "system:serviceaccount:"+ns+":robot",
		"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:"+ns)
	for _, token := range []string{"nonsense", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", strings.Repeat("0", 64), "abc.def", "abcdefg." + longSecret} {
		wantNobody(t, p.bearer(token))
	}
	if lines := refusals(logs); len(lines) > 0 {
		t.Errorf("got log lines %v, want none", lines)
	}
}

func TestBootstrapTokenReview(t *testing.T) {
	p := sharedPlane(t)
	p.createSecret(t, tokenSecret("review", longSecret))
	for token, want := range map[string]bool{"review." + longSecret: true, "review." + longSecret[:16]: false} {
		review := must(p.admin().AuthenticationV1().TokenReviews().Create(t.Context(),
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{}))(t)
		if review.Status.Authenticated != want {
			t.Errorf("token %s: got %+v, want authenticated %v", token, review.Status, want)
		}
	}
}

// TestBootstrapTokenBesideCertificate: a client certificate takes precedence over a
// token, as upstream.
func TestBootstrapTokenBesideCertificate(t *testing.T) {
	p := sharedPlane(t)
	p.createSecret(t, tokenSecret("beside", longSecret))
	c := p.as(t, "jane")
	c.BearerToken = "beside." + longSecret
	wantUser(t, c, "jane", "system:authenticated")
}

func TestBootstrapTokenOverWebSocket(t *testing.T) {
	p := sharedPlane(t)
	p.createSecret(t, tokenSecret("websoc", longSecret))
	client := p.httpClient(t, pki.KeyPair{})
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	for token, status := range map[string]int{"websoc." + longSecret: http.StatusForbidden, "websoc." + longSecret[:16]: http.StatusUnauthorized} {
		p.call(t, client, http.MethodGet, "/api/v1/secrets", "", "Connection: Upgrade", "Upgrade: websocket",
			"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io."+base64.RawURLEncoding.EncodeToString([]byte(token))+", v4.channel.k8s.io").want(t, status)
	}
}

// TestJoinGroup: clients with a join token have upstream's permissions of all
// authenticated users, may create and get certificate requests, and nothing else.
func TestJoinGroup(t *testing.T) {
	p := sharedPlane(t)
	p.createSecret(t, tokenSecret("joiner", longSecret, data("auth-extra-groups", join.Group)))
	client := clientset(t, p.bearer("joiner."+longSecret))
	for _, ns := range []string{"default", metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		rules := must(client.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
			Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: ns},
		}, metav1.CreateOptions{}))(t)
		var may []string
		for _, rule := range rules.Status.ResourceRules {
			for _, resource := range rule.Resources {
				slices.Sort(rule.Verbs)
				may = append(may, strings.Join(rule.Verbs, ",")+" "+resource+"."+strings.Join(rule.APIGroups, ","))
			}
		}
		slices.Sort(may)
		want := []string{
			"create selfsubjectaccessreviews.authorization.k8s.io",
			"create selfsubjectreviews.authentication.k8s.io",
			"create selfsubjectrulesreviews.authorization.k8s.io",
			"create,get certificatesigningrequests.certificates.k8s.io",
		}
		if !slices.Equal(may, want) {
			t.Errorf("in %s: got %q, want %q", ns, may, want)
		}
	}
}

func TestNodeBindings(t *testing.T) {
	p := sharedPlane(t)
	for name, want := range map[string]rbacv1.Subject{
		"kubembed:kubelet-bootstrap":         {Kind: "Group", APIGroup: rbacv1.GroupName, Name: join.Group},
		"kubembed:node-certificate-rotation": {Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:nodes"},
		"kubembed:kubelet-api-admin":         {Kind: "User", APIGroup: rbacv1.GroupName, Name: "kube-apiserver-kubelet-client"},
	} {
		binding := must(p.admin().RbacV1().ClusterRoleBindings().Get(t.Context(), name, metav1.GetOptions{}))(t)
		if len(binding.Subjects) != 1 || binding.Subjects[0] != want || binding.Annotations[rbacv1.AutoUpdateAnnotationKey] != "true" {
			t.Errorf("ClusterRoleBinding %s: got %+v, want subject %+v and automatic update", name, binding, want)
		}
		if _, err := p.admin().RbacV1().ClusterRoles().Get(t.Context(), binding.RoleRef.Name, metav1.GetOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	user := must(whoAmI(t, p.with(p.pki.KubeletClient())))(t)
	allowed := func(user string, groups []string, a authorizationv1.ResourceAttributes) bool {
		review := must(p.admin().AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: &a},
		}, metav1.CreateOptions{}))(t)
		return review.Status.Allowed
	}
	for _, resource := range []string{"proxy", "log", "stats", "metrics", "healthz", "pods"} {
		a := authorizationv1.ResourceAttributes{Verb: "create", Version: "v1", Resource: "nodes", Subresource: resource, Name: "worker1"}
		if !allowed(user.Username, user.Groups, a) {
			t.Errorf("the kubelet client of the API server is not allowed %+v", a)
		}
	}
	if allowed(user.Username, user.Groups, authorizationv1.ResourceAttributes{Verb: "get", Version: "v1", Resource: "secrets"}) {
		t.Error("the kubelet client of the API server may read Secrets")
	}
	selfNodeClient := authorizationv1.ResourceAttributes{Verb: "create", Group: "certificates.k8s.io", Version: "v1",
		Resource: "certificatesigningrequests", Subresource: "selfnodeclient"}
	if !allowed("system:node:worker1", []string{"system:nodes"}, selfNodeClient) {
		t.Error("a kubelet may not renew its certificate")
	}
	if allowed("system:bootstrap:abcdef", []string{"system:bootstrappers", join.Group}, selfNodeClient) {
		t.Error("a join token may renew certificates")
	}
}
