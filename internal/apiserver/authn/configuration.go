// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	apiservervalidation "k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"

	"github.com/kubembed/kubembed/internal/ownership"
)

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme, serializer.EnableStrict)
)

func init() { install.Install(scheme) }

// FromGo returns a copy of a configuration in the form that upstream's constructors take,
// with defaults.
func FromGo(c *apiserverv1.AuthenticationConfiguration) (*apiserver.AuthenticationConfiguration, error) {
	if c == nil {
		return &apiserver.AuthenticationConfiguration{}, nil
	}
	c = c.DeepCopy()
	scheme.Default(c)
	converted := &apiserver.AuthenticationConfiguration{}
	if err := scheme.Convert(c, converted, nil); err != nil {
		return nil, err
	}
	return converted, nil
}

// Parse decodes the content of a configuration file. Unknown fields and versions are
// errors.
func Parse(content []byte) (*apiserver.AuthenticationConfiguration, error) {
	if len(strings.TrimSpace(string(content))) == 0 {
		return nil, fmt.Errorf("the file is empty: write an AuthenticationConfiguration of apiVersion %s", apiserverv1.SchemeGroupVersion)
	}
	object, err := runtime.Decode(codecs.UniversalDecoder(), content)
	if err != nil {
		return nil, err
	}
	c, ok := object.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("want kind AuthenticationConfiguration, got %T", object)
	}
	return c, nil
}

// ReadFile reads and decodes a configuration file. It has no secrets, but who can write
// it decides who the users are.
func ReadFile(path string) (*apiserver.AuthenticationConfiguration, []byte, error) {
	if err := ownership.File(path); err != nil {
		return nil, nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	c, err := Parse(content)
	if err != nil {
		return nil, content, fmt.Errorf("%s: %w", path, err)
	}
	return c, content, nil
}

// Validate returns the errors of a configuration. serviceAccountIssuers cannot be JWT
// issuers.
func Validate(at *field.Path, c *apiserver.AuthenticationConfiguration, serviceAccountIssuers []string) (errs field.ErrorList) {
	for _, err := range apiservervalidation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), c, serviceAccountIssuers) {
		err.Field = at.String() + "." + err.Field
		err.Detail = strings.ReplaceAll(err.Detail, "disallowed issuers", "the issuers of service-account tokens")
		errs = append(errs, err)
	}
	return errs
}
