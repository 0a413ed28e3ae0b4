// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/kubernetes/pkg/controlplane/controller/clusterauthenticationtrust"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/pki"
)

// trust has the CAs of clients and proxies.
type trust struct {
	clients    dynamiccertificates.CAContentProvider // of PKI
	frontProxy *authenticatorfactory.RequestHeaderConfig
	// The host's. They are nil if there are none.
	foreign dynamiccertificates.CAContentProvider
	proxy   *authenticatorfactory.RequestHeaderConfig
}

func newTrust(cfg Config) (t trust, err error) {
	if t.clients, err = authn.ClientCA(cfg.PKI.ClientCAs()); err != nil {
		return trust{}, err
	}
	if t.frontProxy, err = authn.RequestHeader(cfg.PKI.FrontProxyCABundle(), frontProxyClient); err != nil {
		return trust{}, err
	}
	if cas := cfg.Authentication.ClientCAs; len(cas) > 0 {
		if t.foreign, err = dynamiccertificates.NewStaticCAContent("host-client-ca", cas); err != nil {
			return trust{}, fieldpath.New("apiserver", "Config.Authentication.ClientCAs", "%w", err)
		}
	}
	if header := cfg.Authentication.RequestHeader.withDefaults(); len(header.CAs) > 0 {
		ca, err := dynamiccertificates.NewStaticCAContent("host-proxy-ca", header.CAs)
		if err != nil {
			return trust{}, fieldpath.New("apiserver", "Config.Authentication.RequestHeader.CAs", "%w", err)
		}
		t.proxy = &authenticatorfactory.RequestHeaderConfig{
			CAContentProvider:   ca,
			UsernameHeaders:     headerrequest.StaticStringSlice(header.UsernameHeaders),
			UIDHeaders:          headerrequest.StaticStringSlice(header.UIDHeaders),
			GroupHeaders:        headerrequest.StaticStringSlice(header.GroupHeaders),
			ExtraHeaderPrefixes: headerrequest.StaticStringSlice(header.ExtraHeaderPrefixes),
			AllowedClientNames:  headerrequest.StaticStringSlice(header.AllowedNames),
		}
	}
	return t, nil
}

// validatePKI refuses CAs of the host that are those of identities.
func (a Authentication) validatePKI(at *field.Path, identities *pki.PKI, lenient bool) (errs field.ErrorList) {
	if sharedCA(a.ClientCAs, identities.ClientCAs()) {
		errs = append(errs, fieldpath.Detail(field.Invalid(at.Child("ClientCAs"), field.OmitValueType{}, ""), "has a CA of %s, which is trusted for all users: take that CA out", fieldpath.Name("PKI")))
	}
	if header := a.RequestHeader; len(header.AllowedNames) == 0 && !lenient && mayCertify(header.CAs, identities.ClientCAs()) {
		errs = append(errs, fieldpath.Detail(field.Required(at.Child("RequestHeader", "AllowedNames"), ""), "CAs has a CA of %s, or may have signed one that is not self-signed, and each of its clients could name any user", fieldpath.Name("PKI")))
	}
	return errs
}

// allClients returns the CAs of all clients.
func (t trust) allClients() dynamiccertificates.CAContentProvider {
	if t.foreign == nil {
		return t.clients
	}
	return dynamiccertificates.NewUnionCAContentProvider(t.clients, t.foreign)
}

// apply tells upstream about the CAs.
func (t trust) apply(c *genericapiserver.Config) error {
	headers := authn.UnionRequestHeader(t.frontProxy, t.proxy)
	for _, ca := range []dynamiccertificates.CAContentProvider{t.allClients(), headers.CAContentProvider} {
		if err := c.Authentication.ApplyClientCert(ca, c.SecureServing); err != nil {
			return fmt.Errorf("apiserver: client CA: %w", err)
		}
	}
	return nil
}

// published returns the CAs that the server publishes in kube-system, for the
// authentication of clients by aggregated API servers.
func (t trust) published() clusterauthenticationtrust.ClusterAuthenticationInfo {
	headers := authn.UnionRequestHeader(t.frontProxy, t.proxy)
	return clusterauthenticationtrust.ClusterAuthenticationInfo{
		ClientCA:                         t.allClients(),
		RequestHeaderCA:                  headers.CAContentProvider,
		RequestHeaderAllowedNames:        headers.AllowedClientNames,
		RequestHeaderExtraHeaderPrefixes: headers.ExtraHeaderPrefixes,
		RequestHeaderGroupHeaders:        headers.GroupHeaders,
		RequestHeaderUsernameHeaders:     headers.UsernameHeaders,
		RequestHeaderUIDHeaders:          headers.UIDHeaders,
	}
}

const (
	refusalPeriod  = time.Second
	refusalsLogged = 5 // in each refusalPeriod
)

// others returns the authenticators of the host's proxy and of certificates of the host's
// CAs. Each has its own CAs, and its own cache.
func (t trust) others(e *environment, audiences authenticator.Audiences, revocations clientcert.Revocations) (all []authenticator.Request, err error) {
	if t.proxy != nil {
		proxy, err := authn.NewProxy(e.ctx, t.proxy, audiences)
		if err != nil {
			return nil, err
		}
		all = append(all, revocations.Authenticator(clientcert.NodeKeys{Next: proxy}))
	}
	if t.foreign != nil {
		foreign, err := authn.NewCertificates(e.ctx, t.foreign)
		if err != nil {
			return nil, err
		}
		all = append(all, revocations.Authenticator(authn.ForeignCertificates{
			Request:  clientcert.NewCache(foreign, t.foreign, nil, clock.RealClock{}),
			Reserved: []string{clientcert.KubeletClientUser, AdminUser},
			Logger:   sampled(e.config.Logger),
		}))
	}
	return all, nil
}
