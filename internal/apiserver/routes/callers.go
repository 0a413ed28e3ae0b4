// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package routes

import (
	"reflect"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"

	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

// ForgetCallers drops the stack traces that upstream keeps of each registration of a
// path, in the servers of a chain: a megabyte, mostly of health checks. Upstream prints
// them when a path is registered twice, and still reports the second registration. Call
// it before the servers run.
func ForgetCallers(first genericapiserver.DelegationTarget) {
	for target := first; target != nil; target = target.NextDelegate() {
		if server, ok := target.(*genericapiserver.GenericAPIServer); ok {
			forgetCallers(server.Handler.NonGoRestfulMux)
		}
	}
}

func forgetCallers(m *mux.PathRecorderMux) {
	if stacks := unexported.Field[map[string]string](reflect.ValueOf(m).Elem(), "pathStacks"); stacks != nil {
		for path := range *stacks {
			(*stacks)[path] = ""
		}
	}
}
