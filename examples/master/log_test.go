// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestLogNamesFlags(t *testing.T) {
	out := newOutput("")
	log := options{}.logger(out).With(zap.String("with", "see Config.DataDir"))
	log.Warn("Config.BindAddress: in use", zap.Error(errors.New("Config.Hosts: wrong")), zap.String("cure", "others need a new JoinKubeconfig"), zap.Int("n", 1))
	got := out.String()
	for _, want := range []string{"--bind-address: in use", "--hosts: wrong", "see --data-dir", "the new join.kubeconfig", `"n": 1`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in: %s", want, got)
		}
	}
	if strings.Contains(got, "Config.") {
		t.Error(got)
	}
}
