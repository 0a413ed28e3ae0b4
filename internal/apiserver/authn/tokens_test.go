// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"slices"
	"testing"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
)

// TestUsers verifies that a token authenticates its user only, and that unknown tokens
// authenticate nobody.
func TestUsers(t *testing.T) {
	t.Parallel()
	tokens, err := authn.NewTokens()
	if err != nil {
		t.Fatal(err)
	}
	var users authn.Users
	users.Add(tokens.Admin, "admin", "system:masters")
	users.Add(tokens.Insecure, authn.InsecureUser)
	for token, want := range map[string]string{tokens.Admin: "admin", tokens.Insecure: authn.InsecureUser, tokens.Loopback: "", "": ""} {
		response, ok, err := users.AuthenticateToken(t.Context(), token)
		switch {
		case err != nil, ok != (want != ""):
			t.Errorf("token of %q: got %v, %t, %v", want, response, ok, err)
		case ok && response.User.GetName() != want:
			t.Errorf("got user %q, want %q", response.User.GetName(), want)
		}
	}
	response, _, _ := users.AuthenticateToken(t.Context(), tokens.Admin)
	if got, want := response.User.GetGroups(), []string{"system:authenticated", "system:masters"}; !slices.Equal(got, want) {
		t.Errorf("got groups %q, want %q", got, want)
	}
}
