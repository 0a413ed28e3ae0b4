// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// scheme converts configurations, which upstream makes of flags, to their API version.
var scheme = runtime.NewScheme()

func init() { install.Install(scheme) }

// authenticate sets how clients are authenticated. Upstream makes an
// AuthenticationConfiguration of the flags of OIDC.
func (f *completed) authenticate(c *apiserver.Config) error {
	o := f.Authentication
	for flag, file := range map[string]string{"client-ca-file": o.ClientCert.ClientCA, "oidc-ca-file": o.OIDC.CAFile, "requestheader-client-ca-file": o.RequestHeader.ClientCAFile} {
		if _, err := read(flag, file); err != nil {
			return err // upstream's does not name the flag
		}
	}
	upstream, err := o.ToAuthenticationConfig()
	if err != nil {
		return err
	}
	c.Authentication = apiserver.Authentication{
		ConfigurationFile: o.AuthenticationConfigFile,
		Audiences:         o.APIAudiences,
	}
	a := &c.Authentication
	if upstream.AuthenticationConfig == nil || upstream.AuthenticationConfig.Anonymous == nil { // otherwise the file has it
		a.Anonymous = &apiserverv1.AnonymousAuthConfig{Enabled: o.Anonymous.Allow}
	}
	if o.AuthenticationConfigFile == "" && len(upstream.AuthenticationConfig.JWT) > 0 {
		a.Configuration = &apiserverv1.AuthenticationConfiguration{}
		if err := scheme.Convert(upstream.AuthenticationConfig, a.Configuration, nil); err != nil {
			return fmt.Errorf("--oidc-issuer-url: %w", err)
		}
		a.SigningAlgorithms = upstream.OIDCSigningAlgs
	}
	if o.WebHook.ConfigFile != "" {
		a.Webhook = apiserver.TokenWebhook{KubeconfigFile: o.WebHook.ConfigFile, Version: o.WebHook.Version, CacheTTL: max(o.WebHook.CacheTTL, time.Nanosecond)}
	}
	if a.TokenFile, err = f.tokenFile(); err != nil {
		return err
	}
	if proxy := o.RequestHeader; proxy.ClientCAFile != "" {
		a.RequestHeader = apiserver.RequestHeader{
			AllowedNames:        proxy.AllowedNames,
			UsernameHeaders:     proxy.UsernameHeaders,
			UIDHeaders:          proxy.UIDHeaders,
			GroupHeaders:        proxy.GroupHeaders,
			ExtraHeaderPrefixes: proxy.ExtraHeaderPrefixes,
		}
		a.RequestHeader.CAs, err = read("requestheader-client-ca-file", proxy.ClientCAFile)
	}
	return err
}

// tokenFile copies --token-auth-file. The server, which reads it once, refuses a file
// that other users can read, and repositories of suites have such files.
func (f *completed) tokenFile() (string, error) {
	tokens, err := read("token-auth-file", f.Authentication.TokenFile.TokenFile)
	if err != nil || tokens == nil {
		return "", err
	}
	file := filepath.Join(f.dir, "tokens.csv")
	return file, os.WriteFile(file, tokens, 0o600)
}

func (f *completed) serviceAccounts() apiserver.ServiceAccounts {
	o := f.Authentication.ServiceAccounts
	return apiserver.ServiceAccounts{
		Issuers:              o.Issuers,
		JWKSURI:              o.JWKSURI,
		MaxTokenExpiration:   o.MaxExpiration,
		NoExtendedExpiration: !o.ExtendExpiration,
		SigningEndpoint:      f.ServiceAccountSigningEndpoint,
	}
}

// authorize sets the authorizers. Upstream makes an AuthorizationConfiguration of the
// flags of the webhook.
func (f *completed) authorize(c *apiserver.Config) error {
	o := f.Authorization
	c.Authorization = apiserver.Authorization{ConfigurationFile: o.AuthorizationConfigurationFile, PolicyFile: o.PolicyFile}
	if !slices.Contains(o.Modes, modes.ModeWebhook) {
		c.Authorization.Modes = o.Modes
		return nil
	}
	upstream, err := o.ToAuthorizationConfig(nil)
	if err != nil {
		return err
	}
	for _, authorizer := range upstream.AuthorizationConfiguration.Authorizers {
		if webhook := authorizer.Webhook; webhook != nil {
			validTTL(&webhook.AuthorizedTTL)
			validTTL(&webhook.UnauthorizedTTL)
		}
	}
	c.Authorization.Configuration = &apiserverv1.AuthorizationConfiguration{}
	if err := scheme.Convert(upstream.AuthorizationConfiguration, c.Authorization.Configuration, nil); err != nil {
		return fmt.Errorf("--authorization-webhook-config-file: %w", err)
	}
	return nil
}

// validTTL replaces zero, which a configuration must not have. It has no effect then:
// upstream has switched the cache off.
func validTTL(ttl *metav1.Duration) {
	if ttl.Duration == 0 {
		ttl.Duration = time.Second
	}
}
