// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package join

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"go.uber.org/goleak"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewToken(t *testing.T) {
	// 26 characters of 32 are 130 bits, if each place uses all characters.
	used := map[int]map[byte]bool{}
	seen := map[string]bool{}
	for range 2000 {
		token := NewToken()
		if len(token.Secret) < 26 || seen[token.Secret] {
			t.Fatalf("%d characters, seen before: %t", len(token.Secret), seen[token.Secret])
		}
		seen[token.Secret] = true
		for i := range 26 {
			if used[i] == nil {
				used[i] = map[byte]bool{}
			}
			used[i][token.Secret[i]] = true
		}
		parsed, ok := ParseToken(token.String())
		if !ok || parsed != token {
			t.Fatalf("%s is not a token", token)
		}
		if !bootstraputil.IsValidBootstrapTokenID(token.ID) || token.SecretName() != bootstrapapi.BootstrapTokenSecretPrefix+token.ID {
			t.Fatalf("ID %q in Secret %q", token.ID, token.SecretName())
		}
	}
	for i, characters := range used {
		if len(characters) != 32 {
			t.Errorf("%d different characters at place %d", len(characters), i)
		}
	}
}

func TestGroup(t *testing.T) {
	if err := bootstraputil.ValidateBootstrapGroupName(Group); err != nil {
		t.Error(err)
	}
}

func TestParseToken(t *testing.T) {
	for text, want := range map[string]bool{
		"abcdef.0123456789abcdef":           true,
		"abcdef." + strings.Repeat("a", 64): true,
		"abcdef." + strings.Repeat("a", 65): false,
		"abcdef.0123456789abcde":            false,
		"abcde.0123456789abcdef":            false,
		"abcdefg.0123456789abcdef":          false,
		"abcdef.0123456789abcdeF":           false,
		"abcdef.0123456789abcdef\n":         false,
		"abcdef.0123456789abcdef.0123":      false,
		"\nabcdef.0123456789abcdef":         false,
		"abcdef":                            false,
		"":                                  false,
	} {
		if _, ok := ParseToken(text); ok != want {
			t.Errorf("%q: %t", text, ok)
		}
	}
}

// FuzzParseToken checks that an accepted token is written as it was read, and that its
// Secret can have its name.
func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{"", "abcdef.0123456789abcdef", "abcdef.0123456789abcdef\n", "ABCDEF.0123456789abcdef", "abcdef..", NewToken().String()} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, ok := ParseToken(text)
		if !ok {
			return
		}
		if token.String() != text {
			t.Errorf("%q is written as %q", text, token)
		}
		if errs := validation.IsDNS1123Subdomain(token.SecretName()); len(errs) > 0 {
			t.Errorf("%q: name of the Secret %q: %q", text, token.SecretName(), errs)
		}
	})
}
