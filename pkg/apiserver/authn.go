package apiserver

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
)

// revocations refuse client certificates and close their connections.
type revocations struct {
	revoked             *revokedNodes
	revokedCertificates *revokedCertificates
}

// configureAuthentication sets the authenticators of client certificates, service-account
// tokens, bootstrap tokens and the front proxy.
func configureAuthentication(ctx context.Context, c *genericapiserver.Config, cfg Config, client *kubernetes.Clientset, shared informers.SharedInformerFactory) (r revocations, err error) {
	clientCA, err := authn.ClientCA(cfg.PKI.ClientCAs())
	if err != nil {
		return r, err
	}
	frontProxy, err := authn.RequestHeader(cfg.PKI.FrontProxyCABundle(), frontProxyClient)
	if err != nil {
		return r, err
	}
	keys, err := authn.ServiceAccountKeys(cfg.PKI.ServiceAccountPublicKeys())
	if err != nil {
		return r, err
	}
	upstream, err := authn.New(ctx, authn.Config{
		Issuer:             cfg.ServiceAccountIssuer,
		ServiceAccountKeys: keys,
		ClientCA:           clientCA,
		FrontProxy:         frontProxy,
		Client:             client,
		Informers:          shared,
		ServerID:           c.APIServerID,
	})
	if err != nil {
		return r, err
	}
	for _, ca := range []dynamiccertificates.CAContentProvider{clientCA, frontProxy.CAContentProvider} {
		if err := c.Authentication.ApplyClientCert(ca, c.SecureServing); err != nil {
			return r, fmt.Errorf("apiserver: client CA: %w", err)
		}
	}
	secrets := shared.Core().V1().Secrets()
	if r.revoked, err = newRevokedNodes(secrets.Informer(), cfg.Logger); err != nil {
		return r, err
	}
	if r.revokedCertificates, err = newRevokedCertificates(secrets.Informer()); err != nil {
		return r, err
	}
	audiences := authenticator.Audiences{cfg.ServiceAccountIssuer}
	certificates := clientcert.NewCache(nodeKeys{upstream.Request}, clientCA, frontProxy.UsernameHeaders.Value(), clock.RealClock{})
	accepted := clientcert.RefuseKubeletClient{Request: r.revokedCertificates.wrap(r.revoked.wrap(certificates))}
	c.Authentication.Authenticator = union.New(accepted, newBootstrapTokens(audiences, secrets.Lister(), client, cfg.Logger))
	c.Authentication.APIAudiences = audiences
	c.Authentication.RequestHeaderConfig = frontProxy
	c.OpenAPIConfig.SecurityDefinitions = upstream.SecurityDefinitions
	c.OpenAPIV3Config.SecuritySchemes = upstream.SecuritySchemes
	return r, nil
}

// withTokens adds bearer tokens that never leave the process to the authenticators
// others.
func withTokens(others authenticator.Request, audiences authenticator.Audiences, users *authn.Users, admin *adminCertificate) authenticator.Request {
	own := bearertoken.New(authenticator.WrapAudienceAgnosticToken(audiences, users))
	return serving.GrownStacks{Request: serving.NoteClients{Request: byCertificateFirst{
		with:    adminYields{union.New(others, own), admin},
		without: union.New(own, others),
	}}}
}
