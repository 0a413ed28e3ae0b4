// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/internal/apiserver/authz"
)

// Authorization configures who may do what. Its zero value asks the Node authorizer and
// RBAC. Authorizers are asked in their order, and the first one that allows or denies
// decides. If none does, the request is denied. Group system:masters comes before all of
// them and has all permissions.
//
// A start fails if an authorizer denies an identity of the control plane a request that
// stands for its work: kubelets, system:kube-scheduler and others. It asks the webhooks
// and the host's authorizers about them, each question as if the client were not in group
// system:masters. A webhook that does not answer within five seconds is no reason to
// fail. Changes of the configuration have the same condition.
type Authorization struct {
	// Modes are the authorizers, in this order, like kube-apiserver's
	// --authorization-mode: Node, RBAC, ABAC, AlwaysAllow, AlwaysDeny. Their names are in
	// lower case. Only one of Modes, Configuration and ConfigurationFile may be set. If
	// none is, Node and RBAC. RBAC is left out if rbac.authorization.k8s.io is switched
	// off.
	Modes []string
	// Configuration is the chain of authorizers, with webhooks. The server has a copy:
	// see Server.SetAuthorization. TypeMeta may be empty. A kubeconfig of a webhook must
	// not be writable for other users, nor readable for all if it has a token, a password
	// or a key. The webhook version v1beta1 and the cache times of kube-apiserver's
	// --authorization-webhook flags are fields in it.
	Configuration *apiserverv1.AuthorizationConfiguration
	// ConfigurationFile is the path of a file with an AuthorizationConfiguration, like
	// kube-apiserver's --authorization-config. Other users must not be able to write to
	// it. The server applies it again when it changes, under the conditions of
	// SetAuthorization. A file that is refused is logged and counted in upstream's metric
	// apiserver_authorization_config_controller_automatic_reloads_total, and the server
	// goes on with the configuration before. If the cause is outside the file (its mode,
	// a kubeconfig, the answer of a webhook), it tries again within a minute.
	ConfigurationFile string
	// PolicyFile is the path of the policy of an authorizer ABAC, one JSON object per
	// line, like kube-apiserver's --authorization-policy-file. It must be set for an
	// authorizer ABAC, and only for one. The server applies its changes like
	// ConfigurationFile's; kube-apiserver does not.
	PolicyFile string
	// Authorizers are the host's own, in addition to the others. They do not see requests
	// of group system:masters.
	Authorizers []Authorizer
}

// Authorizer is an authorizer of the host's own.
type Authorizer struct {
	// Name is a DNS subdomain, unique in the chain. It is in messages, and with the type
	// Go in upstream's metric apiserver_authorization_decisions_total.
	Name string
	// Authorizer decides, concurrently. For requests that it has no say in, it returns
	// DecisionNoOpinion: that should include users and groups that begin with "system:".
	// An authorizer.AuthorizerFunc is enough. An error fails the request (HTTP 500),
	// unless an authorizer allows it. The client gets the error, with the authorizer's
	// name.
	//
	// If it panics or does not return in time, the request fails: see the package
	// documentation. It should return when its context ends.
	//
	// The rules of an Authorizer that also implements authorizer.RuleResolver are in the
	// output of kubectl auth can-i --list. Without it, the list is marked incomplete.
	// Such a type embeds the function, which has all methods of authorizer.Authorizer,
	// and adds RulesFor:
	//
	//	type table struct{ authorizer.AuthorizerFunc }
	Authorizer authorizer.Authorizer
	// Before is the name of the authorizer that it is asked before, like "node" or
	// "rbac", or that of one of the Authorizers further up in the list. If empty, it is
	// asked last.
	Before string
}

// Clone returns a deep copy, except of the authorizers.
func (a Authorization) Clone() Authorization {
	a.Modes = slices.Clone(a.Modes)
	a.Configuration = a.Configuration.DeepCopy()
	a.Authorizers = slices.Clone(a.Authorizers)
	return a
}

func (a Authorization) validate(at *field.Path) field.ErrorList {
	return a.source().Validate(at, a.hosts())
}

func (a Authorization) source() authz.Source {
	return authz.Source{Modes: a.Modes, Configuration: a.Configuration, File: a.ConfigurationFile, PolicyFile: a.PolicyFile}
}

func (a Authorization) hosts() (hosts []authz.Host) {
	for _, own := range a.Authorizers {
		hosts = append(hosts, authz.Host(own))
	}
	return hosts
}

// modes returns the value of kube-apiserver's --authorization-mode.
func (a Authorization) modes() []string {
	if len(a.Modes) == 0 && a.Configuration == nil && a.ConfigurationFile == "" {
		return authz.DefaultModes
	}
	return a.Modes
}
