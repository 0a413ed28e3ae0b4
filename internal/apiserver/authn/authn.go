// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package authn assembles the API server's authenticators.
package authn

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	kubeauthenticator "k8s.io/kubernetes/pkg/kubeapiserver/authenticator"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	serviceaccounttoken "k8s.io/kubernetes/pkg/serviceaccount"

	"github.com/kubembed/kubembed/internal/apiserver/kubeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// AnonymousPaths are the paths of requests without credentials unless the host
// configures others. All other requests need credentials.
var AnonymousPaths = []apiserver.AnonymousAuthCondition{
	{Path: "/healthz"}, {Path: "/livez"}, {Path: "/readyz"}, {Path: "/version"},
}

// Config is the configuration of New.
type Config struct {
	Issuers            []string // of service-account tokens
	ServiceAccountKeys serviceaccounttoken.PublicKeysGetter
	Audiences          authenticator.Audiences
	ClientCA           dynamiccertificates.CAContentProvider
	FrontProxy         *authenticatorfactory.RequestHeaderConfig
	Client             kubernetes.Interface
	Informers          clientgoinformers.SharedInformerFactory

	// The zero values of the other fields work.
	TokenFile string
	Tokens    map[string]*user.DefaultInfo // by token
	JWTs      *JWTs
	Webhook   Webhook
	ServerID  string
}

// Webhook is a webhook that reviews tokens. If File is empty, there is none.
type Webhook struct {
	File, Version string
	CacheTTL      time.Duration
	Dial          utilnet.DialFunc
	Dir           string // private, for a copy of File
}

// Authenticator is an authenticator of requests with its description in OpenAPI
// documents.
type Authenticator struct {
	Request             authenticator.Request
	SecurityDefinitions *spec.SecurityDefinitions
	SecuritySchemes     spec3.SecuritySchemes
}

// New returns an authenticator of client certificates, the front proxy and all tokens but
// bootstrap tokens. It is BuiltInAuthenticationOptions.ApplyTo of kube-apiserver with
// keys from memory, and without anonymous clients. Its goroutines end with ctx.
func New(ctx context.Context, c Config) (a Authenticator, err error) {
	if c.TokenFile != "" { // upstream's error would not name the field
		if err := CheckTokenFile(c.TokenFile); err != nil {
			return Authenticator{}, fieldpath.New("apiserver", "Config.Authentication.TokenFile", "%w", err)
		}
	}
	defaults := kubeoptions.NewBuiltInAuthenticationOptions().WithWebHook()
	core := c.Informers.Core().V1()
	webhooks := c.Informers.Admissionregistration().V1()
	if c.Webhook.File != "" {
		if c.Webhook.File, err = kubeconfig.WithoutFiles(c.Webhook.File, c.Webhook.Dir); err != nil {
			return Authenticator{}, fieldpath.New("apiserver", "Config.Authentication.Webhook.KubeconfigFile", "%w", err)
		}
	}
	own := []authenticator.Token{tokenfile.New(c.Tokens)}
	if c.JWTs != nil {
		own = append(own, c.JWTs)
	}
	a.Request, _, a.SecurityDefinitions, a.SecuritySchemes, err = kubeauthenticator.Config{
		ServiceAccountLookup:           true,
		ServiceAccountIssuers:          c.Issuers,
		APIAudiences:                   c.Audiences,
		TokenAuthFile:                  c.TokenFile,
		TokenSuccessCacheTTL:           defaults.TokenSuccessCacheTTL,
		TokenFailureCacheTTL:           defaults.TokenFailureCacheTTL,
		RequestHeaderConfig:            c.FrontProxy,
		ServiceAccountPublicKeysGetter: c.ServiceAccountKeys,
		ServiceAccountTokenGetter: serviceaccount.NewGetterFromClient(c.Client,
			core.Secrets().Lister(), core.ServiceAccounts().Lister(), core.Pods().Lister(), core.Nodes().Lister(),
			webhooks.ValidatingWebhookConfigurations().Lister(), webhooks.MutatingWebhookConfigurations().Lister()),
		SecretsWriter: c.Client.CoreV1(),
		// The place of bootstrap tokens, directly before JWT issuers. Bootstrap tokens
		// are not here: these authenticators cache tokens for ten seconds, so that a
		// revoked token would still be valid.
		BootstrapToken:              true,
		BootstrapTokenAuthenticator: tokenunion.New(own...),
		WebhookTokenAuthnConfigFile: c.Webhook.File,
		WebhookTokenAuthnVersion:    c.Webhook.Version,
		WebhookTokenAuthnCacheTTL:   c.Webhook.CacheTTL,
		WebhookRetryBackoff:         defaults.WebHook.RetryBackoff,
		CustomDial:                  c.Webhook.Dial,
		ClientCAContentProvider:     c.ClientCA,
		APIServerID:                 c.ServerID,
	}.New(ctx)
	if err != nil {
		return Authenticator{}, fmt.Errorf("apiserver: authentication: %w", err)
	}
	return a, nil
}

// NewCertificates returns an authenticator of the client certificates of ca only.
func NewCertificates(ctx context.Context, ca dynamiccertificates.CAContentProvider) (authenticator.Request, error) {
	request, _, _, _, err := kubeauthenticator.Config{ClientCAContentProvider: ca}.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("apiserver: client certificates: %w", err)
	}
	return request, nil
}

// NewProxy returns an authenticator of another front proxy only.
func NewProxy(ctx context.Context, proxy *authenticatorfactory.RequestHeaderConfig, audiences authenticator.Audiences) (authenticator.Request, error) {
	request, _, _, _, err := kubeauthenticator.Config{RequestHeaderConfig: proxy, APIAudiences: audiences}.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("apiserver: request header proxy: %w", err)
	}
	return WithHeader{request, proxy.UsernameHeaders.Value()}, nil
}

// WithAnonymous accepts requests without credentials on the paths of conditions, or on
// all. Requests that an authenticator has refused are not accepted.
func WithAnonymous(others authenticator.Request, conditions []apiserver.AnonymousAuthCondition) authenticator.Request {
	return union.NewFailOnError(others, anonymous.NewAuthenticator(conditions))
}

// RequestHeader returns a configuration that trusts the identity headers of a proxy with
// a certificate of the front-proxy CA for the name client. The headers have
// kube-apiserver's usual names.
func RequestHeader(frontProxyCA []byte, client string) (*authenticatorfactory.RequestHeaderConfig, error) {
	ca, err := dynamiccertificates.NewStaticCAContent("front-proxy-ca", frontProxyCA)
	if err != nil {
		return nil, fmt.Errorf("apiserver: front-proxy CA: %w", err)
	}
	return &authenticatorfactory.RequestHeaderConfig{
		CAContentProvider:   ca,
		UsernameHeaders:     headerrequest.StaticStringSlice{"X-Remote-User"},
		UIDHeaders:          headerrequest.StaticStringSlice{"X-Remote-Uid"},
		GroupHeaders:        headerrequest.StaticStringSlice{"X-Remote-Group"},
		ExtraHeaderPrefixes: headerrequest.StaticStringSlice{"X-Remote-Extra-"},
		AllowedClientNames:  headerrequest.StaticStringSlice{client},
	}, nil
}

// UnionRequestHeader returns the configuration of both proxies together, for the filter
// that removes their headers and for aggregated API servers. If other is nil, it is own.
func UnionRequestHeader(own, other *authenticatorfactory.RequestHeaderConfig) *authenticatorfactory.RequestHeaderConfig {
	if other == nil {
		return own
	}
	both := func(a, b headerrequest.StringSliceProvider) headerrequest.StaticStringSlice {
		all := slices.Clone(a.Value())
		for _, value := range b.Value() {
			if !slices.Contains(all, value) {
				all = append(all, value)
			}
		}
		return all
	}
	names := both(own.AllowedClientNames, other.AllowedClientNames)
	if len(other.AllowedClientNames.Value()) == 0 {
		names = nil // any name
	}
	return &authenticatorfactory.RequestHeaderConfig{
		CAContentProvider:   dynamiccertificates.NewUnionCAContentProvider(own.CAContentProvider, other.CAContentProvider),
		UsernameHeaders:     both(own.UsernameHeaders, other.UsernameHeaders),
		UIDHeaders:          both(own.UIDHeaders, other.UIDHeaders),
		GroupHeaders:        both(own.GroupHeaders, other.GroupHeaders),
		ExtraHeaderPrefixes: both(own.ExtraHeaderPrefixes, other.ExtraHeaderPrefixes),
		AllowedClientNames:  names,
	}
}

// ClientCA returns the CAs of client certificates in the form that upstream takes.
func ClientCA(bundle []byte) (dynamiccertificates.CAContentProvider, error) {
	ca, err := dynamiccertificates.NewStaticCAContent("client-ca", bundle)
	if err != nil {
		return nil, fmt.Errorf("apiserver: cluster CA: %w", err)
	}
	return ca, nil
}

// ServiceAccountKeys returns the keys that verify service-account tokens in the form that
// upstream takes.
func ServiceAccountKeys[K crypto.PublicKey](public []K) (serviceaccounttoken.PublicKeysGetter, error) {
	var all []any
	for _, key := range public {
		all = append(all, key)
	}
	keys, err := serviceaccounttoken.StaticPublicKeysGetter(all)
	if err != nil {
		return nil, fmt.Errorf("apiserver: service-account keys: %w", err)
	}
	return keys, nil
}
