// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/kubembed/kubembed/internal/apiserver/audit"
)

// configureAudit sets the policy and the backend of the audit log. The caller closes
// file.
func configureAudit(e *environment, c *genericapiserver.Config, file *audit.LogFile) error {
	return audit.Apply(c, e.config.auditOptions(), e.config.Dir, file)
}
