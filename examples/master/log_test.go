// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

func TestLogNamesFlags(t *testing.T) {
	out := newOutput("")
	err := fieldpath.New("", "Config.Hosts", "wrong, see %s", fieldpath.Name("NewCluster"))
	log := options{}.logger(out).With(zap.NamedError("with", fieldpath.Errorf("in %s", fieldpath.Name("Config.DataDir"))))
	log.Warn("in use", zap.String("field", "Config.BindAddress"), zap.Error(fmt.Errorf("start: %w", err)), zap.String("text", "Hosts"), zap.Int("n", 1))
	got := out.String()
	for _, want := range []string{`"field": "--bind-address"`, "start: --hosts: wrong, see --new-cluster", "in --data-dir", `"text": "Hosts"`, `"n": 1`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in: %s", want, got)
		}
	}
	if strings.Contains(got, "Config.") {
		t.Error(got)
	}
}
