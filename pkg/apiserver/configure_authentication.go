// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/kubernetes/pkg/controlplane/controller/clusterauthenticationtrust"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/pkg/pki"
)

// configureAuthentication sets the authenticators of client certificates, service-account
// tokens, bootstrap tokens and the front proxy.
func configureAuthentication(e *environment, c *genericapiserver.Config) (r clientcert.Revocations, err error) {
	clientCA, err := authn.ClientCA(e.config.PKI.ClientCAs())
	if err != nil {
		return r, err
	}
	frontProxy, err := authn.RequestHeader(e.config.PKI.FrontProxyCABundle(), frontProxyClient)
	if err != nil {
		return r, err
	}
	keys, err := authn.ServiceAccountKeys(e.config.PKI.ServiceAccountPublicKeys())
	if err != nil {
		return r, err
	}
	upstream, err := authn.New(e.ctx, authn.Config{
		Issuer:             e.config.ServiceAccounts.Issuers[0],
		ServiceAccountKeys: keys,
		ClientCA:           clientCA,
		FrontProxy:         frontProxy,
		Client:             e.client,
		Informers:          e.sharedInformers,
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
	secrets := e.sharedInformers.Core().V1().Secrets()
	if r, err = clientcert.NewRevocations(secrets.Informer(), e.config.Logger); err != nil {
		return r, err
	}
	audiences := authenticator.Audiences{e.config.ServiceAccounts.Issuers[0]}
	certificates := clientcert.NewCache(clientcert.NodeKeys{Next: upstream.Request}, clientCA, frontProxy.UsernameHeaders.Value(), clock.RealClock{})
	c.Authentication.Authenticator = union.New(r.Authenticator(certificates), authn.NewBootstrapTokens(audiences, secrets.Lister(), e.client, e.config.Logger))
	c.Authentication.APIAudiences = audiences
	c.Authentication.RequestHeaderConfig = frontProxy
	c.OpenAPIConfig.SecurityDefinitions = upstream.SecurityDefinitions
	c.OpenAPIV3Config.SecuritySchemes = upstream.SecuritySchemes
	return r, nil
}

// configureTokens adds bearer tokens that never leave the process to the authenticators.
func (s *Server) configureTokens(c *genericapiserver.Config) {
	s.users.Add(s.tokens.Admin, AdminUser, user.SystemPrivilegedGroup)
	s.users.Add(s.tokens.Insecure, authn.InsecureUser, user.SystemPrivilegedGroup)
	all := authn.WithTokens(c.Authentication.Authenticator, c.Authentication.APIAudiences, &s.users, &s.admin)
	c.Authentication.Authenticator = serving.Authenticator{Request: all}
}

// clusterAuthenticationInfo returns the CAs that the server publishes in kube-system, for
// the authentication of clients by aggregated API servers.
func clusterAuthenticationInfo(identities *pki.PKI) (clusterauthenticationtrust.ClusterAuthenticationInfo, error) {
	frontProxy, err := authn.RequestHeader(identities.FrontProxyCABundle(), frontProxyClient)
	if err != nil {
		return clusterauthenticationtrust.ClusterAuthenticationInfo{}, err
	}
	clientCA, err := authn.ClientCA(identities.ClientCAs())
	if err != nil {
		return clusterauthenticationtrust.ClusterAuthenticationInfo{}, err
	}
	return clusterauthenticationtrust.ClusterAuthenticationInfo{
		ClientCA:                         clientCA,
		RequestHeaderCA:                  frontProxy.CAContentProvider,
		RequestHeaderAllowedNames:        frontProxy.AllowedClientNames,
		RequestHeaderExtraHeaderPrefixes: frontProxy.ExtraHeaderPrefixes,
		RequestHeaderGroupHeaders:        frontProxy.GroupHeaders,
		RequestHeaderUsernameHeaders:     frontProxy.UsernameHeaders,
		RequestHeaderUIDHeaders:          frontProxy.UIDHeaders,
	}, nil
}
