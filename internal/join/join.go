// Package join is what the parts of a control plane have to agree on about
// join tokens: the group that their holders are in, and their form.
package join

import (
	"crypto/rand"
	"regexp"
	"strings"

	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
)

// Group is the group of clients that join with a token. It is bound to a role
// that may create CertificateSigningRequests and read them by name, and to
// nothing else, and the requests of its members for client certificates of
// kubelets are approved.
const Group = "system:bootstrappers:kubembed:join"

// Token is a bootstrap token in upstream's sense, <id>.<secret>, whose secret
// may be longer than upstream's 16 characters, which are 83 bits.
type Token struct {
	ID     string // names the Secret; no secret
	Secret string
}

// form is looser than upstream's in the length of the secret alone.
var form = regexp.MustCompile(`\A([a-z0-9]{6})\.([a-z0-9]{16,64})\z`)

// ParseToken reports whether token has the form of one.
func ParseToken(token string) (Token, bool) {
	parts := form.FindStringSubmatch(token)
	if parts == nil {
		return Token{}, false
	}
	return Token{ID: parts[1], Secret: parts[2]}, true
}

// NewToken makes a token whose secret has at least 128 random bits.
func NewToken() Token {
	return Token{
		ID:     strings.ToLower(rand.Text())[:bootstrapapi.BootstrapTokenIDBytes],
		Secret: strings.ToLower(rand.Text()),
	}
}

// String is what a client sends. It is secret.
func (t Token) String() string { return bootstraputil.TokenFromIDAndSecret(t.ID, t.Secret) }

// SecretName is the name of the Secret of the token in kube-system.
func (t Token) SecretName() string { return bootstraputil.BootstrapTokenSecretName(t.ID) }
