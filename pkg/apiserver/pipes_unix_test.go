// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package apiserver_test

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestPipes: a pipe in the place of a file is an error, and nobody waits for its writer.
func TestPipes(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for field, cfg := range map[string]apiserver.Config{
		"Authentication.ConfigurationFile":      {Authentication: apiserver.Authentication{ConfigurationFile: pipe}},
		"Authentication.TokenFile":              {Authentication: apiserver.Authentication{TokenFile: pipe}},
		"Authentication.Webhook.KubeconfigFile": {Authentication: apiserver.Authentication{Webhook: apiserver.TokenWebhook{KubeconfigFile: pipe}}},
		"Authorization.ConfigurationFile":       {Authorization: apiserver.Authorization{ConfigurationFile: pipe}},
		"Authorization.PolicyFile":              {Authorization: apiserver.Authorization{Modes: []string{"ABAC"}, PolicyFile: pipe}},
		"Admission.ConfigurationFile":           {Admission: apiserver.Admission{ConfigurationFile: pipe}},
		"Serving.CertFile":                      {Serving: apiserver.Serving{CertFile: pipe, KeyFile: pipe}},
	} {
		if err := access.ValidateOptional(cfg).ToAggregate(); !contains(err, field+": Invalid value") || !contains(err, "is a pipe") {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
