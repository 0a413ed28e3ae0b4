package apiserver

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

// bootstrapTokens authenticates clients by bootstrap tokens. It does upstream's
// authenticator three services: secrets may be longer than 16 characters, a
// token is known and revoked at once, and the log says why one is refused.
type bootstrapTokens struct {
	lister  corev1listers.SecretNamespaceLister
	client  corev1client.SecretInterface
	unknown flowcontrol.PassiveRateLimiter // of looking up tokens that the informer does not know
	logger  func() *zap.Logger             // made at the first refusal: it is half a megabyte
}

const (
	// refusalsLogged is how many lines of this package the log gets in a second,
	// however many tokens are tried. Upstream has a line of its own for each, through
	// klog, which package controlplane limits: see its documentation.
	refusalsLogged = 5
	// unknownLookups is how often in a second storage is asked for a token that
	// the informer does not know. Whoever guesses tokens costs no more.
	unknownLookups = 100
)

// newBootstrapTokens takes bearer tokens from where upstream's authenticator does.
func newBootstrapTokens(audiences authenticator.Audiences, secrets corev1listers.SecretLister, client kubernetes.Interface, logger *zap.Logger) authenticator.Request {
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

// clientAddress is the key of the address that a request came from.
type clientAddress struct{}

// looksLikeBootstrapToken is true of no service-account token: those begin with
// a longer part.
var looksLikeBootstrapToken = regexp.MustCompile(`\A[a-z0-9]{6}\.`)

// AuthenticateToken refuses by false, and gives an error where it cannot tell.
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
		// What is right is asked for once more below: the informer may not have
		// heard yet that it is deleted. What is wrong costs no more than this.
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

// check compares the whole secret, and leaves the rest to upstream, which knows
// no secrets longer than 16 characters.
func (b *bootstrapTokens) check(ctx context.Context, secret *corev1.Secret, token join.Token) (*authenticator.Response, bool, error) {
	if subtle.ConstantTimeCompare(secret.Data[bootstrapapi.BootstrapTokenSecretKey], []byte(token.Secret)) != 1 {
		b.refused(ctx, token.ID, "its secret is wrong")
		return nil, false, nil
	}
	cut := secret.DeepCopy()
	token.Secret = token.Secret[:bootstrapapi.BootstrapTokenSecretBytes]
	cut.Data[bootstrapapi.BootstrapTokenSecretKey] = []byte(token.Secret)
	response, ok, err := bootstrap.NewTokenAuthenticator(oneSecret{secret: cut}).AuthenticateToken(ctx, token.String())
	if err == nil && !ok {
		b.refused(ctx, token.ID, refusal(secret))
	}
	return response, ok, err
}

// oneSecret is a lister of what has been looked up.
type oneSecret struct {
	corev1listers.SecretNamespaceLister
	secret *corev1.Secret
}

func (o oneSecret) Get(string) (*corev1.Secret, error) { return o.secret, nil }

// refused tells the operator, who sees only "Unauthorized" on the worker. The
// ID of a token is no secret.
func (b *bootstrapTokens) refused(ctx context.Context, id, reason string) {
	fields := []zap.Field{zap.String("token-id", id), zap.String("reason", reason)}
	if address, _ := ctx.Value(clientAddress{}).(string); address != "" {
		fields = append(fields, zap.String("client", address))
	}
	b.logger().Warn("a bootstrap token was refused", fields...)
}

const reasonUnknown = "there is no such token: it was deleted, or has expired and was cleaned up"

// refusal finds out why upstream's authenticator, which does not say, has
// refused a token whose secret was right.
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
