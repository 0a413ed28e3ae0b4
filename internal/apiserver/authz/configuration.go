// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/kubernetes/pkg/auth/authorizer/abac"
	kubeauthorizer "k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"

	"github.com/kubembed/kubembed/internal/apiserver/kubeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
)

// Modes are the supported modes. Webhooks need an AuthorizationConfiguration.
var Modes = []string{modes.ModeNode, modes.ModeRBAC, modes.ModeABAC, modes.ModeAlwaysAllow, modes.ModeAlwaysDeny}

// DefaultModes are the Node authorizer and RBAC, in upstream's usual order.
var DefaultModes = []string{modes.ModeNode, modes.ModeRBAC}

// The types of upstream's authorizers that a server has once.
const (
	typeNode = apiserverconfig.AuthorizerType(modes.ModeNode)
	typeRBAC = apiserverconfig.AuthorizerType(modes.ModeRBAC)
	typeABAC = apiserverconfig.AuthorizerType(modes.ModeABAC)

	typeAlwaysAllow = apiserverconfig.AuthorizerType(modes.ModeAlwaysAllow)
)

// Source is where the chain of authorizers is configured: in one of Configuration, File
// and Modes. PolicyFile is the policy of ABAC.
type Source struct {
	Modes         []string
	Configuration *apiserverv1.AuthorizationConfiguration
	File          string
	PolicyFile    string
}

// kind is what a configuration file has in its first lines.
const kind = "AuthorizationConfiguration"

// loaded is a configuration that was read and is valid.
type loaded struct {
	*apiserverconfig.AuthorizationConfiguration
	data   []byte // of File
	policy []byte // of PolicyFile
	// webhooks are the contents of the kubeconfigs by the names of their authorizers.
	webhooks map[string]string
}

// names returns the names of the authorizers.
func (l *loaded) names() (names []string) {
	for _, a := range l.Authorizers {
		names = append(names, a.Name)
	}
	return names
}

// types returns the types of the authorizers, without webhooks. Upstream requires that a
// new configuration keeps them.
func (l *loaded) types() sets.Set[apiserverconfig.AuthorizerType] {
	types := sets.New[apiserverconfig.AuthorizerType]()
	for _, a := range l.Authorizers {
		types.Insert(a.Type)
	}
	return types.Delete(apiserverconfig.TypeWebhook)
}

// Types returns the types of the authorizers of a valid source, and nil for one that is
// not valid.
func (s Source) Types() (types []string) {
	l, errs := s.load(nil)
	if len(errs) > 0 {
		return nil
	}
	for _, a := range l.Authorizers {
		types = append(types, string(a.Type))
	}
	return types
}

// Validate reads the files of the source, and returns the errors in it and in the host's
// authorizers.
func (s Source) Validate(at *field.Path, hosts []Host) (errs field.ErrorList) {
	l, errs := s.load(at)
	var names []string
	if l != nil {
		names = l.names()
	}
	return append(errs, validateHosts(at.Child("Authorizers"), names, hosts)...)
}

// load reads and validates the configuration. It is nil if there are no authorizers to
// tell.
func (s Source) load(at *field.Path) (l *loaded, errs field.ErrorList) {
	if at == nil {
		at = field.NewPath("Config", "Authorization")
	}
	errs = s.validateChoice(at)
	var err field.ErrorList
	switch {
	case s.Configuration != nil:
		l, err = fromGo(at.Child("Configuration"), s.Configuration, nil)
	case s.File != "":
		l, _, err = fromFile(at.Child("ConfigurationFile"), s.File, nil)
	default:
		l, err = fromModes(at, s.Modes)
	}
	errs = append(errs, err...)
	if l == nil {
		return nil, errs
	}
	path := at.Child("PolicyFile")
	switch usesABAC := l.types().Has(typeABAC); {
	case usesABAC && s.PolicyFile == "":
		errs = append(errs, field.Required(path, "authorizer ABAC needs a policy"))
	case !usesABAC && s.PolicyFile != "":
		errs = append(errs, field.Forbidden(path, "there is no authorizer of type ABAC: add it, or leave out the file"))
	case usesABAC:
		var err error
		if l.policy, err = readPolicy(s.PolicyFile); err != nil {
			errs = append(errs, field.Invalid(path, s.PolicyFile, err.Error()))
		}
	}
	return l, errs
}

// validateChoice refuses more than one configuration.
func (s Source) validateChoice(at *field.Path) (errs field.ErrorList) {
	var set []string
	add := func(name string, isSet bool) {
		if isSet {
			set = append(set, name)
		}
	}
	add("Modes", len(s.Modes) > 0)
	add("Configuration", s.Configuration != nil)
	add("ConfigurationFile", s.File != "")
	for _, name := range set[min(1, len(set)):] {
		errs = append(errs, fieldpath.Detail(field.Forbidden(at.Child(name), ""), "%s is set too: take out one of them", fieldpath.NameOf(at.Child(set[0]))))
	}
	return errs
}

// fromModes returns the configuration of modes, as upstream makes it of
// --authorization-mode.
func fromModes(at *field.Path, names []string) (*loaded, field.ErrorList) {
	var errs field.ErrorList
	if len(names) == 0 {
		names = DefaultModes
	}
	c := &apiserverconfig.AuthorizationConfiguration{}
	for i, mode := range names {
		switch path := at.Child("Modes").Index(i); {
		case mode == modes.ModeWebhook:
			errs = append(errs, fieldpath.Detail(field.Invalid(path, mode, ""), "use %s, which also has the kubeconfig and the cache times of the webhook", fieldpath.NameOf(at.Child("Configuration"))))
		case !slices.Contains(Modes, mode):
			errs = append(errs, field.NotSupported(path, mode, Modes))
		case slices.Contains(names[:i], mode):
			errs = append(errs, field.Duplicate(path, mode))
		default:
			c.Authorizers = append(c.Authorizers, apiserverconfig.AuthorizerConfiguration{
				Type: apiserverconfig.AuthorizerType(mode),
				Name: kubeauthorizer.GetNameForAuthorizerMode(mode),
			})
		}
	}
	return &loaded{AuthorizationConfiguration: c}, errs
}

// fromGo returns the configuration of a Go value. It takes the way of a file, with
// upstream's defaults and validation. keep are the types that it must have.
func fromGo(at *field.Path, c *apiserverv1.AuthorizationConfiguration, keep sets.Set[apiserverconfig.AuthorizerType]) (*loaded, field.ErrorList) {
	c = c.DeepCopy()
	version := apiserverv1.SchemeGroupVersion.String()
	if c.APIVersion != "" && c.APIVersion != version {
		return nil, field.ErrorList{field.NotSupported(at.Child("APIVersion"), c.APIVersion, []string{"", version})}
	}
	if c.Kind != "" && c.Kind != kind {
		return nil, field.ErrorList{field.NotSupported(at.Child("Kind"), c.Kind, []string{"", kind})}
	}
	c.APIVersion, c.Kind = version, kind
	data, err := json.Marshal(c)
	if err != nil {
		return nil, field.ErrorList{field.InternalError(at, err)}
	}
	named := func(e *field.Error) *field.Error {
		e.Field = at.String() + "." + goPath(e.Field)
		return e
	}
	l, err := fromData(data, keep)
	if err != nil {
		return nil, fieldErrors(err, named, func(err error) *field.Error { return field.Invalid(at, field.OmitValueType{}, err.Error()) })
	}
	errs := l.readWebhooks()
	for i, e := range errs {
		errs[i] = named(e)
	}
	return l, errs
}

// fromFile returns the configuration of a file. If that can never be valid, bad is the
// content of the file. Other errors have causes outside it.
func fromFile(at *field.Path, path string, keep sets.Set[apiserverconfig.AuthorizerType]) (l *loaded, bad []byte, errs field.ErrorList) {
	invalid := func(err error) *field.Error { return field.Invalid(at, path, err.Error()) }
	if err := ownership.File(path); err != nil {
		return nil, nil, field.ErrorList{invalid(err)}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, field.ErrorList{invalid(err)}
	}
	l, err = fromData(data, keep)
	if err != nil {
		never := func(err error) *field.Error {
			bad = data
			return invalid(err)
		}
		errs = fieldErrors(err, func(e *field.Error) *field.Error {
			if strings.HasSuffix(e.Field, ".kubeConfigFile") {
				return invalid(e) // upstream looks whether the file exists
			}
			return never(e)
		}, never)
		return nil, bad, errs
	}
	for _, e := range l.readWebhooks() {
		errs = append(errs, invalid(e))
	}
	return l, nil, errs
}

// fromData returns the configuration in data, with upstream's defaults and validation.
func fromData(data []byte, keep sets.Set[apiserverconfig.AuthorizerType]) (*loaded, error) {
	c, err := kubeauthorizer.LoadAndValidateData(data, authorizationcel.NewDefaultCompiler(), keep)
	if err != nil {
		return nil, err
	}
	return &loaded{AuthorizationConfiguration: c, data: data}, nil
}

// readWebhooks reads the kubeconfigs.
func (l *loaded) readWebhooks() (errs field.ErrorList) {
	l.webhooks = map[string]string{}
	for i, a := range l.Authorizers {
		if a.Webhook == nil {
			continue
		}
		at, connection := field.NewPath("authorizers").Index(i).Child("webhook", "connectionInfo"), a.Webhook.ConnectionInfo
		if connection.Type != apiserverconfig.AuthorizationWebhookConnectionInfoTypeKubeConfigFile {
			// Upstream's validation accepts it, and its constructor panics.
			errs = append(errs, field.NotSupported(at.Child("type"), connection.Type, []string{apiserverconfig.AuthorizationWebhookConnectionInfoTypeKubeConfigFile}))
			continue
		}
		content, err := kubeconfig.Read(*connection.KubeConfigFile)
		if err != nil {
			errs = append(errs, field.Invalid(at.Child("kubeConfigFile"), *connection.KubeConfigFile, err.Error()))
			continue
		}
		l.webhooks[a.Name] = string(content)
	}
	return errs
}

// readPolicy returns the content of a policy of ABAC. It is nil if the file cannot be
// read, and is returned with the error if it is not valid.
func readPolicy(path string) ([]byte, error) {
	if err := ownership.File(path); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, err = abac.NewFromFile(path)
	return data, err
}

// fieldErrors returns the field errors in err, changed by named, and the others as plain
// makes them.
func fieldErrors(err error, named func(*field.Error) *field.Error, plain func(error) *field.Error) (errs field.ErrorList) {
	list := []error{err}
	if aggregate := utilerrors.Aggregate(nil); errors.As(err, &aggregate) {
		list = utilerrors.Flatten(aggregate).Errors()
	}
	for _, err := range list {
		if e := (*field.Error)(nil); errors.As(err, &e) {
			copied := *e
			errs = append(errs, named(&copied))
		} else {
			errs = append(errs, plain(err))
		}
	}
	return errs
}

// goPath returns the path of a JSON field with the names of Go: they differ only in the
// first letter.
func goPath(path string) string {
	names := strings.Split(path, ".")
	for i, name := range names {
		if name != "" {
			names[i] = strings.ToUpper(name[:1]) + name[1:]
		}
	}
	return strings.Join(names, ".")
}

// firstError returns errs as one error, nil for none.
func firstError(errs field.ErrorList) error {
	if err := errs.ToAggregate(); err != nil {
		return fieldpath.New("apiserver", "", "%w", err)
	}
	return nil
}
