// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// answerFailures sets the answers to requests on which an authenticator or an authorizer
// of the host fails.
func (c Config) answerFailures(server *genericapiserver.Config) {
	if len(c.Authentication.Before)+len(c.Authentication.After)+len(c.Authorization.Authorizers) == 0 {
		return
	}
	chain := server.BuildHandlerChainFunc
	server.BuildHandlerChainFunc = func(api http.Handler, server *genericapiserver.Config) http.Handler {
		audited := *server
		audited.AuditBackend = hostcall.AuditFailures(server.AuditBackend)
		return hostcall.AnswerFailures(api, func(api http.Handler) http.Handler { return chain(api, &audited) }, server.Serializer)
	}
}
