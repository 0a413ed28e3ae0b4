// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// authentication is what the authenticators of the server are made of.
type authentication struct {
	trust    trust
	accounts serviceAccounts
	jwts     *authn.JWTs
	// watchIssuers follows Authentication.ConfigurationFile until the server stops.
	watchIssuers func()
	anonymous    apiserver.AnonymousAuthConfig
	revocations  clientcert.Revocations
}

// newAuthentication reads the files of the host, and connects to its signer.
func newAuthentication(e *environment, serverID string, background *lifecycle.Group) (a authentication, err error) {
	if a.trust, err = newTrust(e.config); err != nil {
		return authentication{}, err
	}
	if a.accounts, err = newServiceAccounts(e); err != nil {
		return authentication{}, err
	}
	cfg := e.config.Authentication
	configuration, err := authn.FromGo(cfg.Configuration)
	if err != nil {
		return authentication{}, fieldpath.New("apiserver", "Config.Authentication.Configuration", "%w", err)
	}
	path, content := cfg.ConfigurationFile, []byte(nil)
	if path != "" {
		if configuration, content, err = authn.ReadFile(path); err != nil {
			return authentication{}, fieldpath.New("apiserver", "Config.Authentication.ConfigurationFile", "%w", err)
		}
	}
	jwts, err := authn.NewJWTs(e.ctx, authn.JWTOptions{
		ServiceAccountIssuers: e.config.ServiceAccounts.Issuers,
		Algorithms:            cfg.SigningAlgorithms,
		Egress:                e.issuerDialer,
		ServerID:              serverID,
		Logger:                e.config.Logger,
		Background:            background,
	}, configuration)
	if err != nil {
		return authentication{}, fieldpath.New("apiserver", "Config.Authentication.Configuration", "%w", err)
	}
	a.jwts, a.watchIssuers = jwts, func() {}
	if path != "" {
		a.watchIssuers = func() { jwts.Watch(path, content) }
	}
	a.anonymous, err = e.config.anonymous(configuration)
	return a, err
}

// configureAuthentication sets all authenticators: of client certificates, proxies,
// tokens, the host's own, and anonymous clients.
func configureAuthentication(e *environment, c *genericapiserver.Config, a *authentication) (err error) {
	if err := a.trust.apply(c); err != nil {
		return err
	}
	secrets := e.sharedInformers.Core().V1().Secrets()
	if a.revocations, err = clientcert.NewRevocations(secrets.Informer(), e.config.Logger); err != nil {
		return err
	}
	audiences := e.config.audiences()
	upstream, err := authn.New(e.ctx, authenticators(e, a, c.APIServerID))
	if err != nil {
		return err
	}
	frontProxy := a.trust.frontProxy
	certificates := clientcert.NewCache(clientcert.NodeKeys{Next: upstream.Request}, a.trust.clients, frontProxy.UsernameHeaders.Value(), clock.RealClock{})
	builtin := a.revocations.Authenticator(certificates)
	bootstrap := authn.NewBootstrapTokens(audiences, secrets.Lister(), e.client, e.config.Logger)
	others, err := a.trust.others(e, audiences, a.revocations)
	if err != nil {
		return err
	}
	all := authn.Union(slices.Concat(others, []authenticator.Request{builtin, bootstrap}))
	if hosts := e.config.Authentication; len(hosts.Before)+len(hosts.After) > 0 {
		if all, err = a.withHosts(e, builtin, all); err != nil {
			return err
		}
	}
	c.Authentication.Authenticator = all
	if a.anonymous.Enabled {
		c.Authentication.Authenticator = authn.WithAnonymous(all, a.anonymous.Conditions)
	}
	c.Authentication.APIAudiences = audiences
	c.Authentication.RequestHeaderConfig = authn.UnionRequestHeader(frontProxy, a.trust.proxy)
	c.OpenAPIConfig.SecurityDefinitions = upstream.SecurityDefinitions
	c.OpenAPIV3Config.SecuritySchemes = upstream.SecuritySchemes
	return nil
}

// authenticators returns the configuration of upstream's authenticators.
func authenticators(e *environment, made *authentication, serverID string) authn.Config {
	c := e.config
	a := c.Authentication
	tokens := map[string]*user.DefaultInfo{}
	for _, token := range a.Tokens {
		info := cloneUser(token.User)
		tokens[token.Token] = &info
	}
	webhook := authn.Webhook{File: a.Webhook.KubeconfigFile, Version: a.Webhook.Version, CacheTTL: a.Webhook.CacheTTL, Dial: utilnet.DialFunc(c.Dialers.ControlPlane), Dir: c.Dir}
	if webhook.Version == "" {
		webhook.Version = "v1"
	}
	if webhook.CacheTTL == 0 {
		webhook.CacheTTL = kubeoptions.NewBuiltInAuthenticationOptions().WithWebHook().WebHook.CacheTTL
	}
	return authn.Config{
		Issuers:            c.ServiceAccounts.Issuers,
		ServiceAccountKeys: made.accounts.keys,
		Audiences:          c.audiences(),
		ClientCA:           made.trust.clients,
		FrontProxy:         made.trust.frontProxy,
		Client:             e.client,
		Informers:          e.sharedInformers,
		TokenFile:          a.TokenFile,
		Tokens:             tokens,
		JWTs:               made.jwts,
		Webhook:            webhook,
		ServerID:           serverID,
	}
}

func (c Config) audiences() authenticator.Audiences {
	if len(c.Authentication.Audiences) > 0 {
		return c.Authentication.Audiences
	}
	return c.ServiceAccounts.Issuers
}

// anonymous returns how clients without credentials are accepted.
func (c Config) anonymous(configuration *apiserver.AuthenticationConfiguration) (apiserver.AnonymousAuthConfig, error) {
	paths := apiserver.AnonymousAuthConfig{Enabled: true, Conditions: authn.AnonymousPaths}
	configured := configuration.Anonymous
	if c.Authentication.Anonymous != nil {
		if configured != nil { // the file has changed since the validation
			return paths, fieldpath.New("apiserver", "Config.Authentication.Anonymous", "the configuration has anonymous too: take out one of them")
		}
		converted, err := authn.FromGo(&apiserverv1.AuthenticationConfiguration{Anonymous: c.Authentication.Anonymous})
		if err != nil {
			return paths, fieldpath.New("apiserver", "Config.Authentication.Anonymous", "%w", err)
		}
		configured = converted.Anonymous
	}
	if configured == nil {
		return paths, nil
	}
	return *configured, nil
}

// validateAnonymous refuses to make clients without credentials administrators, which
// kube-apiserver refuses for --authorization-mode only.
func (c Config) validateAnonymous() field.ErrorList {
	if c.lenient || !slices.Contains(c.Authorization.source().Types(), modes.ModeAlwaysAllow) {
		return nil
	}
	configured, at := c.Authentication.anonymous(field.NewPath("Authentication"))
	if configured == nil || !acceptsAnonymous(*configured) {
		return nil
	}
	return field.ErrorList{fieldpath.Detail(field.Forbidden(at, ""),
		"it accepts clients without credentials, which authorizer type AlwaysAllow of %s would make administrators: leave out that type, or accept such clients on /healthz, /livez, /readyz and /version only",
		fieldpath.NameOf(field.NewPath("Authorization")))}
}

// acceptsAnonymous reports whether clients without credentials may request more than the
// default paths, which are the same for all clients.
func acceptsAnonymous(a apiserver.AnonymousAuthConfig) bool {
	return a.Enabled && (len(a.Conditions) == 0 || slices.ContainsFunc(a.Conditions, func(c apiserver.AnonymousAuthCondition) bool {
		return !slices.Contains(authn.AnonymousPaths, c)
	}))
}

// withHosts adds the authenticators of the host to all. Those come after certificates of
// the control plane itself, and never before tokens of this process (configureTokens).
func (a *authentication) withHosts(e *environment, builtin authenticator.Request, all authn.Union) (authn.Union, error) {
	guard := func(name string, requests []authenticator.Request) authenticator.Request {
		var hosts []*authn.Host
		for i, request := range requests {
			hosts = append(hosts, &authn.Host{
				Request: request, Name: fmt.Sprintf("%s (%T)", field.NewPath("Config", "Authentication", name).Index(i), request),
				Timeout: e.config.RequestTimeout, Audiences: e.config.audiences(), Logger: e.config.Logger,
			})
		}
		return a.revocations.Authenticator(clientcert.NodeKeys{Next: a.revocations.WithoutRevoked(authn.Hosts(hosts))})
	}
	own, err := authn.NewCertificates(e.ctx, a.trust.clients)
	if err != nil {
		return nil, err
	}
	cached := clientcert.NewCache(own, a.trust.clients, nil, clock.RealClock{})
	all = slices.Concat(authn.Union{guard("Before", e.config.Authentication.Before)}, all, authn.Union{guard("After", e.config.Authentication.After)})
	return authn.Union{authn.OwnCertificates{
		Certificates: cached,
		BuiltIn:      builtin,
		Reserved:     []string{clientcert.KubeletClientUser},
		Next:         all,
	}}, nil
}

// sampled bounds the lines that clients cause.
func sampled(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, refusalPeriod, refusalsLogged, 0)
	}))
}

// configureTokens adds bearer tokens that never leave the process to the authenticators.
func (s *Server) configureTokens(c *genericapiserver.Config) {
	s.users.Add(s.tokens.Admin, AdminUser, user.SystemPrivilegedGroup)
	s.users.Add(s.tokens.Insecure, authn.InsecureUser, user.SystemPrivilegedGroup)
	all := authn.WithTokens(c.Authentication.Authenticator, c.Authentication.APIAudiences, &s.users, &s.admin)
	c.Authentication.Authenticator = serving.Authenticator{Request: all}
}

// SetAuthentication replaces the JWT issuers of Config.Authentication.Configuration. It
// returns when all issuers that are new or changed have answered. Requests in progress
// are not affected, and no token of an issuer that stays is refused. Tokens of a removed
// issuer that were used before are accepted for ten more seconds. As with
// SetAuthorization, c is copied and not stored, and must not be nil.
//
// If c is not valid, or ctx ends before these issuers have answered, the earlier issuers
// stay. Without a deadline in ctx they have a minute. A later call ends one that still
// waits, which then returns an error that says so. The log has the error, too, and the
// metric apiserver_authentication_config_controller_automatic_reloads_total counts it.
// Anonymous cannot change. With Config.Authentication.ConfigurationFile it fails: change
// the file.
func (s *Server) SetAuthentication(ctx context.Context, c *apiserverv1.AuthenticationConfiguration) error {
	if path := s.config.Authentication.ConfigurationFile; path != "" {
		return fieldpath.New("apiserver", "Config.Authentication.ConfigurationFile", "it is set: change the file %s", path)
	}
	if err := s.jwts.SetFromGo(ctx, c); err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	return nil
}
