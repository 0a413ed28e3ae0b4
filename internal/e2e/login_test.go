// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	clientauthenticationv1 "k8s.io/client-go/pkg/apis/clientauthentication/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/internal/oidctest"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// loginPlugin is a credential plugin of kubectl that logs in to an OIDC issuer.
const loginPlugin = "kubectl-login-for-test"

// loginMain gets a token of the issuer, and prints it as kubectl wants it.
func loginMain([]string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(os.Getenv("LOGIN_CA")))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}}
	answer, err := client.PostForm(os.Getenv("LOGIN_ISSUER")+"/token", url.Values{"grant_type": {"password"}, "password": {os.Getenv("LOGIN_PASSWORD")}})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var token struct {
		IDToken string `json:"id_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil {
		return err
	}
	if token.IDToken == "" {
		return errors.New("the issuer refused the password")
	}
	return json.NewEncoder(os.Stdout).Encode(clientauthenticationv1.ExecCredential{
		TypeMeta: metav1.TypeMeta{APIVersion: clientauthenticationv1.SchemeGroupVersion.String(), Kind: "ExecCredential"},
		Status:   &clientauthenticationv1.ExecCredentialStatus{Token: token.IDToken},
	})
}

// TestKubectlLogsIn: kubectl runs a credential plugin, which gets a token of an OIDC
// issuer.
func TestKubectlLogsIn(t *testing.T) {
	issuer := oidctest.Start(t)
	issuer.Login("tulip", map[string]any{"sub": "jane", "aud": "kubembed", "groups": []string{"view"}})
	plane, _ := startServer(t, controlplane.Config{Authentication: apiserver.Authentication{
		Configuration: &apiserverv1.AuthenticationConfiguration{JWT: []apiserverv1.JWTAuthenticator{{
			Issuer: apiserverv1.Issuer{URL: issuer.URL(), CertificateAuthority: issuer.CA(), Audiences: []string{"kubembed"}},
			ClaimMappings: apiserverv1.ClaimMappings{
				Username: apiserverv1.PrefixedClaimOrExpression{Expression: "'oidc:' + claims.sub"},
				Groups:   apiserverv1.PrefixedClaimOrExpression{Expression: "claims.groups"},
			},
		}}},
	}})
	admin := kubectlFor(t, plane.adminConfig)
	admin.ok(t, "create", "clusterrolebinding", "view", "--clusterrole=view", "--group=view")

	plugin := filepath.Join(t.TempDir(), loginPlugin)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, plugin); err != nil {
		t.Fatal(err)
	}
	login := func(password string) *kubectl {
		return admin.withCredentials(t, clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
			APIVersion: clientauthenticationv1.SchemeGroupVersion.String(), Command: plugin, InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
			Env: []clientcmdapi.ExecEnvVar{{Name: "LOGIN_ISSUER", Value: issuer.URL()}, {Name: "LOGIN_CA", Value: issuer.CA()}, {Name: "LOGIN_PASSWORD", Value: password}},
		}})
	}
	jane := login("tulip")
	who := jane.ok(t, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}")
	if want := `oidc:jane ["view","system:authenticated"]`; who != want {
		t.Errorf("got %q, want %q", who, want)
	}
	jane.ok(t, "get", "pods", "--all-namespaces")
	if r := jane.run(t, "", "create", "namespace", "jane"); r.code == 0 || !strings.Contains(r.stderr, `User "oidc:jane" cannot create resource "namespaces"`) {
		t.Errorf("got %s, want a refusal that names jane", fmt.Sprint(r))
	}
	if r := login("rose").run(t, "", "get", "pods"); r.code == 0 || !strings.Contains(r.stderr, "the issuer refused the password") {
		t.Errorf("got %s, want the plugin's refusal", fmt.Sprint(r))
	}
}
