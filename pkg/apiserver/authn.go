package apiserver

import (
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
)

// authentication assembles x509, service-account tokens, bootstrap tokens and
// the front proxy.
func (g *generic) authentication() error {
	clientCA, err := authn.ClientCA(g.config.PKI.ClientCAs())
	if err != nil {
		return err
	}
	frontProxy, err := authn.RequestHeader(g.config.PKI.FrontProxyCABundle(), frontProxyClient)
	if err != nil {
		return err
	}
	keys, err := authn.ServiceAccountKeys(g.config.PKI.ServiceAccountPublicKeys())
	if err != nil {
		return err
	}
	upstream, err := authn.New(g.ctx, authn.Config{
		Issuer:             g.config.ServiceAccountIssuer,
		ServiceAccountKeys: keys,
		ClientCA:           clientCA,
		FrontProxy:         frontProxy,
		Client:             g.client,
		Informers:          g.informers,
		ServerID:           g.server.APIServerID,
	})
	if err != nil {
		return err
	}
	for _, ca := range []dynamiccertificates.CAContentProvider{clientCA, frontProxy.CAContentProvider} {
		if err := g.server.Authentication.ApplyClientCert(ca, g.server.SecureServing); err != nil {
			return fmt.Errorf("apiserver: client CA: %w", err)
		}
	}
	secrets := g.informers.Core().V1().Secrets().Informer()
	if g.revoked, err = newRevokedNodes(secrets, g.config.Logger); err != nil {
		return err
	}
	if g.revokedCertificates, err = newRevokedCertificates(secrets); err != nil {
		return err
	}
	audiences := authenticator.Audiences{g.config.ServiceAccountIssuer}
	certificates := clientcert.NewCache(nodeKeys{upstream.Request}, clientCA, frontProxy.UsernameHeaders.Value(), clock.RealClock{})
	g.server.Authentication.Authenticator = union.New(clientcert.RefuseKubeletClient{Request: g.revokedCertificates.wrap(g.revoked.wrap(certificates))}, g.bootstrapTokens(audiences))
	g.server.Authentication.APIAudiences = audiences
	g.server.Authentication.RequestHeaderConfig = frontProxy
	g.server.OpenAPIConfig.SecurityDefinitions = upstream.SecurityDefinitions
	g.server.OpenAPIV3Config.SecuritySchemes = upstream.SecuritySchemes
	return nil
}

// tokens authenticates bearer tokens that never leave the process.
func (g *generic) tokens(users *authn.Users, admin *adminCertificate) {
	own := bearertoken.New(authenticator.WrapAudienceAgnosticToken(g.server.Authentication.APIAudiences, users))
	others := g.server.Authentication.Authenticator
	g.server.Authentication.Authenticator = serving.GrownStacks{Request: serving.NoteClients{Request: byCertificateFirst{
		with:    adminYields{union.New(others, own), admin},
		without: union.New(own, others),
	}}}
}
