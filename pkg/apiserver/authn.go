package apiserver

import (
	"fmt"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	kubeauthenticator "k8s.io/kubernetes/pkg/kubeapiserver/authenticator"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	serviceaccounttoken "k8s.io/kubernetes/pkg/serviceaccount"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
)

// anonymousPaths is all that a request without credentials may reach.
var anonymousPaths = []apiserver.AnonymousAuthCondition{
	{Path: "/healthz"}, {Path: "/livez"}, {Path: "/readyz"}, {Path: "/version"},
}

// authentication assembles x509, service-account tokens, bootstrap tokens and
// the front proxy: BuiltInAuthenticationOptions.ApplyTo of kube-apiserver with
// its keys from memory.
func (g *generic) authentication() error {
	clientCA, err := g.clientCA()
	if err != nil {
		return err
	}
	frontProxy, err := g.requestHeader()
	if err != nil {
		return err
	}
	keys, err := g.serviceAccountKeys()
	if err != nil {
		return err
	}
	audiences := authenticator.Audiences{g.config.ServiceAccountIssuer}
	defaults := kubeoptions.NewBuiltInAuthenticationOptions()
	core := g.informers.Core().V1()
	webhooks := g.informers.Admissionregistration().V1()
	// Bootstrap tokens are not among these, which are cached for ten seconds:
	// one that was revoked would work on.
	request, _, definitions, schemes, err := kubeauthenticator.Config{
		Anonymous:                      apiserver.AnonymousAuthConfig{Enabled: true, Conditions: anonymousPaths},
		ServiceAccountLookup:           true,
		ServiceAccountIssuers:          []string{g.config.ServiceAccountIssuer},
		APIAudiences:                   audiences,
		TokenSuccessCacheTTL:           defaults.TokenSuccessCacheTTL,
		TokenFailureCacheTTL:           defaults.TokenFailureCacheTTL,
		RequestHeaderConfig:            frontProxy,
		ServiceAccountPublicKeysGetter: keys,
		ServiceAccountTokenGetter: serviceaccount.NewGetterFromClient(g.client,
			core.Secrets().Lister(), core.ServiceAccounts().Lister(), core.Pods().Lister(), core.Nodes().Lister(),
			webhooks.ValidatingWebhookConfigurations().Lister(), webhooks.MutatingWebhookConfigurations().Lister()),
		SecretsWriter:           g.client.CoreV1(),
		ClientCAContentProvider: clientCA,
		APIServerID:             g.server.APIServerID,
	}.New(g.ctx)
	if err != nil {
		return fmt.Errorf("apiserver: authentication: %w", err)
	}
	for _, ca := range []dynamiccertificates.CAContentProvider{clientCA, frontProxy.CAContentProvider} {
		if err := g.server.Authentication.ApplyClientCert(ca, g.server.SecureServing); err != nil {
			return fmt.Errorf("apiserver: client CA: %w", err)
		}
	}
	if g.revoked, err = newRevokedNodes(core.Secrets().Informer(), g.config.Logger); err != nil {
		return err
	}
	if g.revokedCertificates, err = newRevokedCertificates(core.Secrets().Informer()); err != nil {
		return err
	}
	certificates := clientcert.NewCache(nodeKeys{request}, clientCA, frontProxy.UsernameHeaders.Value(), clock.RealClock{})
	g.server.Authentication.Authenticator = union.New(clientcert.RefuseKubeletClient{Request: g.revokedCertificates.wrap(g.revoked.wrap(certificates))}, g.bootstrapTokens(audiences))
	g.server.Authentication.APIAudiences = audiences
	g.server.Authentication.RequestHeaderConfig = frontProxy
	g.server.OpenAPIConfig.SecurityDefinitions = definitions
	g.server.OpenAPIV3Config.SecuritySchemes = schemes
	return nil
}

// tokens authenticates bearer tokens that never leave the process.
func (g *generic) tokens(users *users, admin *adminCertificate) {
	own := bearertoken.New(authenticator.WrapAudienceAgnosticToken(g.server.Authentication.APIAudiences, users))
	others := g.server.Authentication.Authenticator
	g.server.Authentication.Authenticator = grownStacks{knownConns{byCertificateFirst{
		with:    adminYields{union.New(others, own), admin},
		without: union.New(own, others),
	}}}
}

// requestHeader trusts the identity headers of a proxy that shows a
// certificate of the front-proxy CA, with kube-apiserver's usual header names.
func (g *generic) requestHeader() (*authenticatorfactory.RequestHeaderConfig, error) {
	ca, err := dynamiccertificates.NewStaticCAContent("front-proxy-ca", g.config.PKI.FrontProxyCABundle())
	if err != nil {
		return nil, fmt.Errorf("apiserver: front-proxy CA: %w", err)
	}
	return &authenticatorfactory.RequestHeaderConfig{
		CAContentProvider:   ca,
		UsernameHeaders:     headerrequest.StaticStringSlice{"X-Remote-User"},
		UIDHeaders:          headerrequest.StaticStringSlice{"X-Remote-Uid"},
		GroupHeaders:        headerrequest.StaticStringSlice{"X-Remote-Group"},
		ExtraHeaderPrefixes: headerrequest.StaticStringSlice{"X-Remote-Extra-"},
		AllowedClientNames:  headerrequest.StaticStringSlice{frontProxyClient},
	}, nil
}

func (g *generic) clientCA() (dynamiccertificates.CAContentProvider, error) {
	ca, err := dynamiccertificates.NewStaticCAContent("client-ca", g.config.PKI.ClientCAs())
	if err != nil {
		return nil, fmt.Errorf("apiserver: cluster CA: %w", err)
	}
	return ca, nil
}

func (g *generic) serviceAccountKeys() (serviceaccounttoken.PublicKeysGetter, error) {
	var public []any
	for _, key := range g.config.PKI.ServiceAccountPublicKeys() {
		public = append(public, key)
	}
	keys, err := serviceaccounttoken.StaticPublicKeysGetter(public)
	if err != nil {
		return nil, fmt.Errorf("apiserver: service-account keys: %w", err)
	}
	return keys, nil
}
