// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"os"
	"path"
	"strings"

	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/kubembed/kubembed/internal/apiserver/audit"
	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
	"github.com/kubembed/kubembed/internal/apiserver/servicecidr"
	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/containment"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/nils"
	"github.com/kubembed/kubembed/pkg/pki"
)

// Validate returns all errors at once, each with the name of its field.
func (c Config) Validate() error {
	var errs field.ErrorList
	if nils.Is(c.Listener) {
		errs = append(errs, field.Required(field.NewPath("Listener"), "the HTTPS listener"))
	} else if _, ok := serving.Address(c.Listener); !ok {
		// Upstream asks for the port, and ends the process when there is none.
		errs = append(errs, field.Invalid(field.NewPath("Listener"), hostcall.Address(c.Listener.Addr).String(), "must be at an IP address and a port: give others an Addr method that returns the one at which clients reach them"))
	}
	if c.Client == nil {
		errs = append(errs, field.Required(field.NewPath("Client"), "the etcd client"))
	}
	if c.PKI == nil {
		errs = append(errs, field.Required(field.NewPath("PKI"), "the identities, from pki.Open"))
	}
	if c.Dir == "" {
		errs = append(errs, field.Required(field.NewPath("Dir"), "a private directory"))
	} else if info, err := os.Stat(c.Dir); err != nil {
		errs = append(errs, field.Invalid(field.NewPath("Dir"), c.Dir, fmt.Sprintf("must be an existing directory: %v", err)))
	} else if !info.IsDir() {
		errs = append(errs, field.Invalid(field.NewPath("Dir"), c.Dir, "must be a directory"))
	}
	if c.Prefix != "" && (!strings.HasPrefix(c.Prefix, "/") || path.Clean(c.Prefix) != c.Prefix || c.Prefix == "/") {
		errs = append(errs, field.Invalid(field.NewPath("Prefix"), c.Prefix, `must be a path like "/registry", without a slash at its end`))
	}
	errs = append(errs, c.validateOptional()...)
	if c.PKI != nil {
		errs = append(errs, c.Authentication.validatePKI(field.NewPath("Authentication"), c.PKI, c.lenient)...)
	}
	if len(errs) == 0 {
		defaulted := c.withDefaults()
		if c.AdvertiseAddress == nil {
			errs = append(errs, validateEndpoint(defaulted.AdvertiseAddress)...)
		}
		errs = append(errs, defaulted.validateFamilies()...)
	}
	return wrap(errs)
}

// validateOptional checks the optional fields only, so that a caller can
// report problems before it has opened what the required fields hold.
func (c Config) validateOptional() field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, servicecidr.Validate(field.NewPath("ServiceCIDR"), c.ServiceCIDR)...)
	if c.AdvertiseAddress != nil {
		errs = append(errs, validateEndpoint(c.AdvertiseAddress)...)
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"MaxRequestsInFlight", int64(c.MaxRequestsInFlight)},
		{"MaxMutatingRequestsInFlight", int64(c.MaxMutatingRequestsInFlight)},
		{"RequestTimeout", int64(c.RequestTimeout)},
		{"EventTTL", int64(c.EventTTL)},
	} {
		if n.value < 0 {
			errs = append(errs, field.Invalid(field.NewPath(n.name), n.value, "must not be negative; zero is the default"))
		}
	}
	for i, host := range c.Reserved {
		if err := (pki.Config{Hosts: []string{strings.TrimSuffix(host, ".")}}).Validate(); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("Reserved").Index(i), host, "must be a DNS name or an IP address, without a port"))
		}
	}
	for i, endpoint := range c.PrivateEndpoints {
		if !endpoint.IsValid() || endpoint.Port() == 0 {
			errs = append(errs, field.Invalid(field.NewPath("PrivateEndpoints").Index(i), endpoint.String(), "must be an IP address and a port that is not 0"))
		}
	}
	errs = append(errs, c.validateInterfaces()...)
	errs = append(errs, c.validateRuntimeConfig()...)
	errs = append(errs, c.validateAdmission()...)
	errs = append(errs, c.Authentication.validate(field.NewPath("Authentication"), c.ServiceAccounts.Issuers)...)
	errs = append(errs, c.ServiceAccounts.validate(field.NewPath("ServiceAccounts"))...)
	errs = append(errs, c.Authorization.validate(field.NewPath("Authorization"))...)
	errs = append(errs, c.validateAnonymous()...)
	errs = append(errs, c.Serving.validate(field.NewPath("Serving"))...)
	errs = append(errs, c.validateCORS(field.NewPath("Serving", "CORSAllowedOrigins"))...)
	errs = append(errs, c.validateSecondary()...)
	errs = append(errs, c.Network.validate(field.NewPath("Network"))...)
	errs = append(errs, c.Limits.validate(field.NewPath("Limits"))...)
	errs = append(errs, validateOverrides(field.NewPath("EtcdOverrides"), c.EtcdOverrides)...)
	errs = append(errs, c.Encryption.validate(field.NewPath("Encryption"))...)
	if c.Transformers != nil && len(c.Encryption.Keys) > 0 {
		errs = append(errs, fieldpath.Detail(field.Forbidden(field.NewPath("Transformers"), ""), "%s is set too: take out one of them", fieldpath.Name("Encryption")))
	}
	if !c.auditStdout {
		errs = append(errs, c.Audit.validateLogFile(field.NewPath("Audit", "Log"))...)
	}
	audited := c.Audit.validate(field.NewPath("Audit"))
	if path := c.Audit.PolicyFile; path != "" && !c.lenient && len(audited) == 0 {
		if err := audit.CheckStrictly(path); err != nil {
			audited = append(audited, fieldpath.Invalid(field.NewPath("Audit", "PolicyFile"), path, err))
		}
	}
	return append(errs, audited...)
}

// validateInterfaces refuses values of the host's that would panic when they are called.
func (c Config) validateInterfaces() field.ErrorList {
	var errs field.ErrorList
	for _, optional := range []struct {
		name  string
		value any
	}{
		{"InsecureListener", c.InsecureListener},
		{"TracerProvider", c.TracerProvider},
		{"Metrics", c.Metrics},
		{"Transformers", c.Transformers},
	} {
		if optional.value != nil && nils.Is(optional.value) {
			errs = append(errs, field.Invalid(field.NewPath(optional.name), field.OmitValueType{}, fmt.Sprintf("is a nil %T: set it, or leave it out", optional.value)))
		}
	}
	for i, check := range c.ReadyzChecks {
		at := field.NewPath("ReadyzChecks").Index(i)
		if nils.Is(check) {
			errs = append(errs, field.Required(at, "the check is nil"))
		} else if name, err := containment.Call("Name", func() (string, error) { return check.Name(), nil }); err != nil {
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, err.Error()))
		} else if name == "" {
			errs = append(errs, field.Required(at, "the check has no name: /readyz/NAME is its path"))
		}
	}
	return errs
}

// validateFamilies refuses endpoints of the kubernetes Service that its own IP
// address cannot be translated to.
func (c Config) validateFamilies() field.ErrorList {
	if c.Network.DisableEndpoints || c.AdvertiseAddress.IsLoopback() || (c.AdvertiseAddress.To4() == nil) == (c.ServiceCIDR.IP.To4() == nil) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("ServiceCIDR"), c.ServiceCIDR.String(),
		fmt.Sprintf("must be of the same IP family as the advertised address %s", c.AdvertiseAddress))}
}

func (c Config) validateRuntimeConfig() field.ErrorList {
	path := field.NewPath("RuntimeConfig")
	var errs field.ErrorList
	for _, key := range sets.List(sets.KeySet(c.RuntimeConfig)) {
		if v := c.RuntimeConfig[key]; v != "" && v != "true" && v != "false" {
			errs = append(errs, field.Invalid(path.Key(key), v, `must be "true" or "false"`))
		}
	}
	o := &genericoptions.APIEnablementOptions{RuntimeConfig: runtimeconfig.Normalize(c.RuntimeConfig)}
	for _, err := range o.Validate(legacyscheme.Scheme, apiextensionsapiserver.Scheme, aggregatorscheme.Scheme) {
		invalid := field.Invalid(path, runtimeconfig.Format(c.RuntimeConfig), err.Error())
		if before, after, found := strings.Cut(err.Error(), "runtime-config"); found { // upstream names its flag
			invalid = fieldpath.Detail(invalid, "%s%s%s", before, fieldpath.NameOf(path), after)
		}
		errs = append(errs, invalid)
	}
	if len(errs) == 0 {
		if merged, err := runtimeconfig.Builtin(c.RuntimeConfig); err != nil {
			errs = append(errs, field.Invalid(path, runtimeconfig.Format(c.RuntimeConfig), err.Error()))
		} else {
			errs = append(errs, runtimeconfig.Validate(path, merged, c.RuntimeConfig)...)
		}
	}
	return errs
}

// wrap turns a list of field errors into one error, nil for none.
func wrap(errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("apiserver: invalid Config: %w", fieldpath.Aggregate(errs))
}
