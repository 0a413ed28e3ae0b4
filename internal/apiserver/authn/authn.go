// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package authn assembles the API server's authenticators.
package authn

import (
	"context"
	"crypto"
	"fmt"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	kubeauthenticator "k8s.io/kubernetes/pkg/kubeapiserver/authenticator"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	serviceaccounttoken "k8s.io/kubernetes/pkg/serviceaccount"
)

// anonymousPaths are the paths of requests without credentials. All other requests need
// credentials.
var anonymousPaths = []apiserver.AnonymousAuthCondition{
	{Path: "/healthz"}, {Path: "/livez"}, {Path: "/readyz"}, {Path: "/version"},
}

// Config is the configuration of New. All fields are required, but ServerID may be empty.
type Config struct {
	Issuer             string // of service-account tokens
	ServiceAccountKeys serviceaccounttoken.PublicKeysGetter
	ClientCA           dynamiccertificates.CAContentProvider
	FrontProxy         *authenticatorfactory.RequestHeaderConfig
	Client             kubernetes.Interface
	Informers          clientgoinformers.SharedInformerFactory
	ServerID           string
}

// Authenticator is an authenticator of requests with its description in OpenAPI
// documents.
type Authenticator struct {
	Request             authenticator.Request
	SecurityDefinitions *spec.SecurityDefinitions
	SecuritySchemes     spec3.SecuritySchemes
}

// New returns an authenticator of client certificates, service-account tokens and the
// front proxy. It is BuiltInAuthenticationOptions.ApplyTo of kube-apiserver with keys
// from memory. Its goroutines end with ctx.
func New(ctx context.Context, c Config) (a Authenticator, err error) {
	defaults := kubeoptions.NewBuiltInAuthenticationOptions()
	core := c.Informers.Core().V1()
	webhooks := c.Informers.Admissionregistration().V1()
	// Bootstrap tokens are not here: these authenticators cache tokens for ten seconds,
	// so that a revoked token would still be valid.
	a.Request, _, a.SecurityDefinitions, a.SecuritySchemes, err = kubeauthenticator.Config{
		Anonymous:                      apiserver.AnonymousAuthConfig{Enabled: true, Conditions: anonymousPaths},
		ServiceAccountLookup:           true,
		ServiceAccountIssuers:          []string{c.Issuer},
		APIAudiences:                   authenticator.Audiences{c.Issuer},
		TokenSuccessCacheTTL:           defaults.TokenSuccessCacheTTL,
		TokenFailureCacheTTL:           defaults.TokenFailureCacheTTL,
		RequestHeaderConfig:            c.FrontProxy,
		ServiceAccountPublicKeysGetter: c.ServiceAccountKeys,
		ServiceAccountTokenGetter: serviceaccount.NewGetterFromClient(c.Client,
			core.Secrets().Lister(), core.ServiceAccounts().Lister(), core.Pods().Lister(), core.Nodes().Lister(),
			webhooks.ValidatingWebhookConfigurations().Lister(), webhooks.MutatingWebhookConfigurations().Lister()),
		SecretsWriter:           c.Client.CoreV1(),
		ClientCAContentProvider: c.ClientCA,
		APIServerID:             c.ServerID,
	}.New(ctx)
	if err != nil {
		return Authenticator{}, fmt.Errorf("apiserver: authentication: %w", err)
	}
	return a, nil
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
