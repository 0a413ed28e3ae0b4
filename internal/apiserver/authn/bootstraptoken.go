// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"crypto/subtle"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/util/flowcontrol"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstrapsecrets "k8s.io/cluster-bootstrap/util/secrets"
	"k8s.io/kubernetes/plugin/pkg/auth/authenticator/token/bootstrap"

	"github.com/kubembed/kubembed/internal/join"
)

// bootstrapTokens authenticates clients by bootstrap tokens. It adds three things to
// upstream's authenticator: secrets may be longer than 16 characters, new and deleted
// tokens take effect at once, and the log has the reason of each refusal.
type bootstrapTokens struct {
	lister  corev1listers.SecretNamespaceLister
	client  corev1client.SecretInterface
	unknown flowcontrol.PassiveRateLimiter // for lookups of tokens that the informer does not have
	logger  func() *zap.Logger             // made at the first refusal: it takes half a megabyte
}

const (
	// refusalsLogged bounds the log lines per second about refused tokens. Upstream logs
	// each refusal through klog, which package controlplane limits: see its
	// documentation.
	refusalsLogged = 5
	// unknownLookups bounds the reads of storage per second for tokens that the informer
	// does not have, and so the cost of clients that guess tokens.
	unknownLookups = 100
)

// NewBootstrapTokens returns an authenticator of bootstrap tokens, which it takes from
// the same headers as upstream's authenticator takes bearer tokens.
func NewBootstrapTokens(audiences authenticator.Audiences, secrets corev1listers.SecretLister, client kubernetes.Interface, logger *zap.Logger) authenticator.Request {
	tokens := authenticator.WrapAudienceAgnosticToken(audiences, &bootstrapTokens{
		lister:  secrets.Secrets(metav1.NamespaceSystem),
		client:  client.CoreV1().Secrets(metav1.NamespaceSystem),
		unknown: flowcontrol.NewTokenBucketPassiveRateLimiter(unknownLookups, unknownLookups),
		logger: sync.OnceValue(func() *zap.Logger {
			return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
				return zapcore.NewSamplerWithOptions(core, time.Second, refusalsLogged, 0)
			}))
		}),
	})
	request := group.NewAuthenticatedGroupAdder(union.New(bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens)))
	return authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		return request.AuthenticateRequest(r.WithContext(context.WithValue(r.Context(), clientAddress{}, r.RemoteAddr)))
	})
}

// clientAddress is the context key of a request's remote address.
type clientAddress struct{}

// looksLikeBootstrapToken matches no service-account token: the first part of those is
// longer.
var looksLikeBootstrapToken = regexp.MustCompile(`\A[a-z0-9]{6}\.`)

// AuthenticateToken returns false for a refused token, and an error if it cannot decide.
func (b *bootstrapTokens) AuthenticateToken(ctx context.Context, text string) (*authenticator.Response, bool, error) {
	token, ok := join.ParseToken(text)
	if !ok {
		if looksLikeBootstrapToken.MatchString(text) {
			b.refused(ctx, text[:bootstrapapi.BootstrapTokenIDBytes], "it is malformed: was it copied in full?")
		}
		return nil, false, nil
	}
	secret, err := b.lister.Get(token.SecretName())
	if err == nil {
		// A valid token is read again below: it may have been deleted, and the informer
		// lags. An invalid one is refused here, without a read.
		if _, ok, err := b.check(ctx, secret, token); !ok || err != nil {
			return nil, false, err
		}
	} else if !b.unknown.TryAccept() {
		b.refused(ctx, token.ID, reasonUnknown)
		return nil, false, nil
	}
	secret, err = b.client.Get(ctx, token.SecretName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		b.refused(ctx, token.ID, reasonUnknown)
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return b.check(ctx, secret, token)
}

// check compares the whole secret, and leaves the other checks to upstream with the first
// 16 characters: it supports no longer secrets.
func (b *bootstrapTokens) check(ctx context.Context, secret *corev1.Secret, token join.Token) (*authenticator.Response, bool, error) {
	if subtle.ConstantTimeCompare(secret.Data[bootstrapapi.BootstrapTokenSecretKey], []byte(token.Secret)) != 1 {
		b.refused(ctx, token.ID, "its secret is wrong")
		return nil, false, nil
	}
	cut := secret.DeepCopy()
	token.Secret = token.Secret[:bootstrapapi.BootstrapTokenSecretBytes]
	cut.Data[bootstrapapi.BootstrapTokenSecretKey] = []byte(token.Secret)
	response, ok, err := bootstrap.NewTokenAuthenticator(singleSecretLister{secret: cut}).AuthenticateToken(ctx, token.String())
	if err == nil && !ok {
		b.refused(ctx, token.ID, refusal(secret))
	}
	return response, ok, err
}

// singleSecretLister always finds its secret.
type singleSecretLister struct {
	corev1listers.SecretNamespaceLister
	secret *corev1.Secret
}

func (l singleSecretLister) Get(string) (*corev1.Secret, error) { return l.secret, nil }

// refused logs a refusal: the worker only sees "Unauthorized". The ID of a token is not
// secret.
func (b *bootstrapTokens) refused(ctx context.Context, id, reason string) {
	fields := []zap.Field{zap.String("token-id", id), zap.String("reason", reason)}
	if address, _ := ctx.Value(clientAddress{}).(string); address != "" {
		fields = append(fields, zap.String("client", address))
	}
	b.logger().Warn("a bootstrap token was refused", fields...)
}

const reasonUnknown = "there is no such token: it was deleted, or has expired and was cleaned up"

// refusal returns why upstream's authenticator has refused a token with the correct
// secret: upstream does not return a reason.
func refusal(secret *corev1.Secret) string {
	value := func(key string) string { return bootstrapsecrets.GetData(secret, key) }
	switch {
	case secret.DeletionTimestamp != nil:
		return "it is being deleted"
	case secret.Type != bootstrapapi.SecretTypeBootstrapToken:
		return "its Secret is not of type " + string(bootstrapapi.SecretTypeBootstrapToken)
	case value(bootstrapapi.BootstrapTokenIDKey) != strings.TrimPrefix(secret.Name, bootstrapapi.BootstrapTokenSecretPrefix):
		return "its Secret has another " + bootstrapapi.BootstrapTokenIDKey
	case bootstrapsecrets.HasExpired(secret, time.Now()):
		return "it expired at " + value(bootstrapapi.BootstrapTokenExpirationKey)
	case value(bootstrapapi.BootstrapTokenUsageAuthentication) != "true":
		return "it is not for authentication: its Secret has no " + bootstrapapi.BootstrapTokenUsageAuthentication + ": true"
	}
	if _, err := bootstrapsecrets.GetGroups(secret); err != nil {
		return "its " + bootstrapapi.BootstrapTokenExtraGroupsKey + ": " + err.Error()
	}
	return "upstream does not say why"
}
