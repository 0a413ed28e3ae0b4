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

// anonymousPaths is all that a request without credentials may reach.
var anonymousPaths = []apiserver.AnonymousAuthCondition{
	{Path: "/healthz"}, {Path: "/livez"}, {Path: "/readyz"}, {Path: "/version"},
}

// Config is for New.
type Config struct {
	Issuer             string // of service-account tokens
	ServiceAccountKeys serviceaccounttoken.PublicKeysGetter
	ClientCA           dynamiccertificates.CAContentProvider
	FrontProxy         *authenticatorfactory.RequestHeaderConfig
	Client             kubernetes.Interface
	Informers          clientgoinformers.SharedInformerFactory
	ServerID           string
}

// Authenticator authenticates requests. The rest describes it in OpenAPI documents.
type Authenticator struct {
	Request             authenticator.Request
	SecurityDefinitions *spec.SecurityDefinitions
	SecuritySchemes     spec3.SecuritySchemes
}

// New returns an authenticator of x509, service-account tokens and
// the front proxy: BuiltInAuthenticationOptions.ApplyTo of kube-apiserver with
// its keys from memory.
func New(ctx context.Context, c Config) (a Authenticator, err error) {
	defaults := kubeoptions.NewBuiltInAuthenticationOptions()
	core := c.Informers.Core().V1()
	webhooks := c.Informers.Admissionregistration().V1()
	// Bootstrap tokens are not among these, which are cached for ten seconds:
	// one that was revoked would work on.
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

// RequestHeader trusts the identity headers of a proxy that shows the certificate of client
// by the front-proxy CA, with kube-apiserver's usual header names.
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

// ClientCA provides the CAs of client certificates.
func ClientCA(bundle []byte) (dynamiccertificates.CAContentProvider, error) {
	ca, err := dynamiccertificates.NewStaticCAContent("client-ca", bundle)
	if err != nil {
		return nil, fmt.Errorf("apiserver: cluster CA: %w", err)
	}
	return ca, nil
}

// ServiceAccountKeys provides the keys that verify service-account tokens.
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
