// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/apiserver/pkg/server/options/authenticationconfig/metrics"
	"k8s.io/apiserver/pkg/util/filesystem"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/ownership"
)

// JWTOptions are for NewJWTs.
type JWTOptions struct {
	// ServiceAccountIssuers cannot be issuers of JWTs.
	ServiceAccountIssuers []string
	// Algorithms are the accepted signing algorithms. If empty, all that upstream knows.
	Algorithms []string
	// Egress returns the dialer of issuers with an egressSelectorType. It may be nil.
	Egress   egressselector.Lookup
	ServerID string
	Logger   *zap.Logger
	// Background has the goroutines that end with the context of NewJWTs. If nil, nothing
	// waits for them.
	Background *lifecycle.Group
	// SetTimeout bounds a Set whose context has no deadline. If zero, a minute, as for
	// a file.
	SetTimeout time.Duration
}

// JWTs authenticates the tokens of JWT issuers. Set replaces the issuers while it serves:
// no request fails for it.
//
// Upstream's own update (kubeauthenticator.Config) asks new issuers every ten seconds
// only, and has goroutines that sleep for half a minute after the server has stopped.
type JWTs struct {
	JWTOptions
	ctx       context.Context
	anonymous *apiserver.AnonymousAuthConfig // of the first configuration
	setting   chan struct{}                  // has an element while Set works
	current   atomic.Pointer[issuers]

	mu  sync.Mutex
	end context.CancelCauseFunc // of the last Set
}

// issuers are the authenticators of one configuration.
type issuers struct {
	authenticator.Token
	all      []*issuer
	requests lifecycle.Group
}

// issuer is an authenticator of one issuer. Configurations in which it is the same share
// it.
type issuer struct {
	oidc.AuthenticatorTokenWithHealthCheck
	configuration apiserver.JWTAuthenticator
	cancel        context.CancelFunc
}

// NewJWTs returns an authenticator of the issuers in a valid configuration. It does not
// wait for issuers: until one has answered, its tokens are refused. Its goroutines end
// with ctx.
func NewJWTs(ctx context.Context, o JWTOptions, c *apiserver.AuthenticationConfiguration) (*JWTs, error) {
	if len(o.Algorithms) == 0 {
		o.Algorithms = oidc.AllValidSigningAlgorithms()
	}
	if o.Background == nil {
		o.Background = &lifecycle.Group{}
	}
	if o.SetTimeout == 0 {
		o.SetTimeout = reloadTimeout
	}
	j := &JWTs{JWTOptions: o, ctx: ctx, anonymous: c.Anonymous.DeepCopy(), setting: make(chan struct{}, 1)}
	first, made, err := j.issuers(c, nil)
	if err != nil {
		cancelAll(made)
		return nil, err
	}
	j.current.Store(first)
	return j, nil
}

// issuers returns the authenticators of a configuration, and the ones among them that are
// not in last. It is upstream's newJWTAuthenticator.
func (j *JWTs) issuers(c *apiserver.AuthenticationConfiguration, last []*issuer) (_ *issuers, made []*issuer, err error) {
	var all []*issuer
	var tokens []authenticator.Token
	for _, configuration := range c.JWT {
		same := func(i *issuer) bool { return reflect.DeepEqual(i.configuration, configuration) }
		if i := slices.IndexFunc(last, same); i >= 0 {
			all, tokens = append(all, last[i]), append(tokens, last[i])
			continue
		}
		next, err := j.issuer(configuration)
		if err != nil {
			return nil, made, err
		}
		all, tokens, made = append(all, next), append(tokens, next), append(made, next)
	}
	return &issuers{Token: tokenunion.NewFailOnError(tokens...), all: all}, made, nil
}

func (j *JWTs) issuer(c apiserver.JWTAuthenticator) (*issuer, error) {
	var ca oidc.CAContentProvider
	if c.Issuer.CertificateAuthority != "" {
		static, err := dynamiccertificates.NewStaticCAContent("oidc-authenticator", []byte(c.Issuer.CertificateAuthority))
		if err != nil {
			return nil, err
		}
		ca = static
	}
	ctx, cancel := context.WithCancel(j.ctx)
	upstream, err := oidc.New(ctx, oidc.Options{
		JWTAuthenticator:     c,
		CAContentProvider:    ca,
		EgressLookup:         j.Egress,
		SupportedSigningAlgs: j.Algorithms,
		DisallowedIssuers:    j.ServiceAccountIssuers,
		APIServerID:          j.ServerID,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return &issuer{upstream, c, cancel}, nil
}

func cancelAll(all []*issuer) {
	for _, i := range all {
		i.cancel()
	}
}

func ready(all []*issuer) error {
	var errs []error
	for _, i := range all {
		if err := i.HealthCheck(); err != nil {
			errs = append(errs, err)
		}
	}
	return utilerrors.NewAggregate(errs)
}

// AuthenticateToken implements authenticator.Token.
func (j *JWTs) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	for {
		issuers := j.current.Load()
		if end, ok := issuers.requests.Begin(); ok { // otherwise Set has just replaced them
			defer end()
			return issuers.AuthenticateToken(ctx, token)
		}
	}
}

// Set replaces the issuers. It waits until all have answered that are new or changed. If
// it fails, the earlier ones stay. ctx bounds the call, and so does a later call of Set,
// which would otherwise wait for an issuer that never answers.
func (j *JWTs) Set(ctx context.Context, c *apiserver.AuthenticationConfiguration) error {
	if errs := j.validate(c); len(errs) > 0 {
		return errs.ToAggregate()
	}
	if _, ok := ctx.Deadline(); !ok {
		limited, cancel := context.WithTimeout(ctx, j.SetTimeout)
		defer cancel()
		ctx = limited
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(j.ctx, func() { end(errStopped) })()
	j.mu.Lock()
	if j.end != nil {
		j.end(errReplaced)
	}
	j.end = end
	j.mu.Unlock()
	j.setting <- struct{}{} // the call before ends
	defer func() { <-j.setting }()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	last := j.current.Load()
	next, made, err := j.issuers(c, last.all)
	if err != nil {
		cancelAll(made)
		return err
	}
	if err := lifecycle.Poll(ctx, func() bool { return ready(made) == nil }); err != nil {
		err = errors.Join(ready(made), fmt.Errorf("not all issuers have answered: %w", err))
		cancelAll(made)
		return err
	}
	j.current.Store(next)
	j.Background.Go(func() { j.retire(last, next.all) })
	return nil
}

var (
	errStopped  = errors.New("the server has stopped")
	errReplaced = errors.New("a later change of the configuration has taken the place of this one")
)

func (j *JWTs) validate(c *apiserver.AuthenticationConfiguration) field.ErrorList {
	at := field.NewPath("AuthenticationConfiguration")
	errs := Validate(at, c, j.ServiceAccountIssuers)
	if !reflect.DeepEqual(j.anonymous, c.Anonymous) {
		errs = append(errs, field.Forbidden(at.Child("anonymous"), "cannot change while the server runs: restart it"))
	}
	return errs
}

// retire ends issuers that do not remain, when no request uses them.
func (j *JWTs) retire(last *issuers, remain []*issuer) {
	if last.requests.Wait(j.ctx) != nil {
		return // the server stops
	}
	urls := sets.New[string]()
	for _, i := range remain {
		urls.Insert(i.configuration.Issuer.URL)
	}
	for _, i := range last.all {
		if slices.Contains(remain, i) {
			continue
		}
		i.cancel()
		if url := i.configuration.Issuer.URL; !urls.Has(url) {
			oidc.DeleteJWKSFetchMetrics(url, j.ServerID)
		}
	}
}

// SetFromGo is Set for the host.
func (j *JWTs) SetFromGo(ctx context.Context, configuration *apiserverv1.AuthenticationConfiguration) error {
	metrics.RegisterMetrics()
	c, err := FromGo(configuration)
	switch {
	case configuration == nil:
		err = errors.New("AuthenticationConfiguration: must not be nil: one without issuers removes them all")
	case err == nil:
		err = j.Set(ctx, c)
	}
	if err != nil {
		j.failed(err)
		return err
	}
	j.Logger.Info("the authentication configuration was replaced", zap.Int("issuers", len(c.JWT)))
	content, _ := json.Marshal(configuration) // for the hash in the metric
	metrics.RecordAuthenticationConfigAutomaticReloadSuccess(j.ServerID, string(content))
	return nil
}

func (j *JWTs) failed(err error, fields ...zap.Field) {
	metrics.RecordAuthenticationConfigAutomaticReloadFailure(j.ServerID)
	j.Logger.Error("the authentication configuration was not replaced: the earlier one stays in effect", append(fields, zap.Error(err))...)
}

const (
	// filePoll is the time between reads of a file if the system reports no changes, as
	// upstream.
	filePoll = time.Minute
	// reloadTimeout bounds the wait for the issuers of a changed file, as upstream.
	reloadTimeout = time.Minute
)

// Watch follows a configuration file, with the given content at first, until the server
// stops. A file that is not valid, or whose issuers do not answer, changes nothing.
func (j *JWTs) Watch(path string, content []byte) {
	metrics.RegisterMetrics()
	metrics.RecordAuthenticationConfigLastConfigInfo(j.ServerID, string(content))
	known := string(content)
	failed := func(err error) { j.failed(err, zap.String("file", path)) }
	filesystem.WatchUntil(j.ctx, filePoll, path, func() {
		if ownership.Regular(path) == nil {
			if content, err := os.ReadFile(path); err == nil && string(content) == known {
				return
			}
		}
		c, content, err := ReadFile(path)
		if err != nil {
			if content != nil {
				known = string(content) // it will never be valid
			}
			failed(err)
			return
		}
		if errs := j.validate(c); len(errs) > 0 {
			known = string(content)
			failed(errs.ToAggregate())
			return
		}
		ctx, cancel := context.WithTimeout(j.ctx, reloadTimeout)
		defer cancel()
		if err := j.Set(ctx, c); err != nil {
			if j.ctx.Err() == nil {
				failed(err) // it is tried again: the issuer may answer later
			}
			return
		}
		known = string(content)
		j.Logger.Info("the authentication configuration was replaced", zap.String("file", path), zap.Int("issuers", len(c.JWT)))
		metrics.RecordAuthenticationConfigAutomaticReloadSuccess(j.ServerID, known)
	}, func(err error) {
		j.Logger.Warn("the authentication configuration is read once a minute only: its file cannot be watched", zap.String("file", path), zap.Error(err))
	})
}
