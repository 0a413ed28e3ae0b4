// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package audit writes the audit log of the API server, by upstream's log backend.
package audit

import (
	"fmt"
	"os"
	"path/filepath"

	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
)

// defaultPolicy applies without a policy file: upstream would log nothing.
const defaultPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// Options are the fields of apiserver.Audit.
type Options struct {
	LogPath    string
	PolicyFile string
	MaxSizeMB  int
	MaxBackups int
}

// Apply adds upstream's audit log backend and policy to a server configuration. Without a
// LogPath it does nothing. dir is for the default policy, which upstream takes as a file.
func Apply(c *genericapiserver.Config, options Options, dir string) error {
	if options.LogPath == "" {
		return nil
	}
	if err := ownership.Appended(options.LogPath); err != nil {
		return fieldpath.New("apiserver", "Config.Audit.LogPath", "%w", err)
	}
	o := genericoptions.NewAuditOptions()
	o.LogOptions.Path = options.LogPath
	o.LogOptions.MaxSize = options.MaxSizeMB
	o.LogOptions.MaxBackups = options.MaxBackups
	o.PolicyFile = options.PolicyFile
	if o.PolicyFile == "" {
		o.PolicyFile = filepath.Join(dir, "audit-policy.yaml")
		if err := os.WriteFile(o.PolicyFile, []byte(defaultPolicy), 0o600); err != nil {
			return fmt.Errorf("apiserver: default audit policy: %w", err)
		}
	}
	if err := o.ApplyTo(c); err != nil {
		return fieldpath.New("apiserver", "Config.Audit", "%w", err)
	}
	return nil
}
