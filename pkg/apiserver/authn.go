// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
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

// configureAuthentication sets the authenticators of client certificates, service-account
// tokens, bootstrap tokens and the front proxy.
func configureAuthentication(ctx context.Context, c *genericapiserver.Config, cfg Config, client *kubernetes.Clientset, shared informers.SharedInformerFactory) (r clientcert.Revocations, err error) {
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
	if r, err = clientcert.NewRevocations(secrets.Informer(), cfg.Logger); err != nil {
		return r, err
	}
	audiences := authenticator.Audiences{cfg.ServiceAccountIssuer}
	certificates := clientcert.NewCache(clientcert.NodeKeys{Next: upstream.Request}, clientCA, frontProxy.UsernameHeaders.Value(), clock.RealClock{})
	accepted := clientcert.RefuseKubeletClient{Request: r.Wrap(certificates)}
	c.Authentication.Authenticator = union.New(accepted, authn.NewBootstrapTokens(audiences, secrets.Lister(), client, cfg.Logger))
	c.Authentication.APIAudiences = audiences
	c.Authentication.RequestHeaderConfig = frontProxy
	c.OpenAPIConfig.SecurityDefinitions = upstream.SecurityDefinitions
	c.OpenAPIV3Config.SecuritySchemes = upstream.SecuritySchemes
	return r, nil
}

// withTokens adds bearer tokens that never leave the process to the authenticators
// others.
func withTokens(others authenticator.Request, audiences authenticator.Audiences, users *authn.Users, admin *authn.AdminCertificate) authenticator.Request {
	return serving.GrownStacks{Request: serving.NoteClients{Request: authn.WithTokens(others, audiences, users, admin)}}
}
