// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestKubeletSigningDuration(t *testing.T) {
	for _, c := range []struct {
		kubelets, cluster time.Duration
		want              string
	}{
		{0, 0, ""},
		{time.Hour, 0, ""},
		{0, time.Hour, ""}, // an hour
		{365 * 24 * time.Hour, 0, ""},
		{-1, 0, "KubeletSigningDuration: Invalid value: \"-1ns\": must not be negative"},
		{2 * time.Hour, time.Hour, "must not be longer than ClusterSigningDuration, which is 1h0m0s"},
		{366 * 24 * time.Hour, 0, "must not be longer than ClusterSigningDuration"},
		{0, -1, "ClusterSigningDuration: Invalid value: \"-1ns\": must not be negative"},
	} {
		err := controlplane.Config{KubeletSigningDuration: c.kubelets, ClusterSigningDuration: c.cluster}.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "Invalid value") != 1) {
			t.Errorf("%s of %s: %v, want %q", c.kubelets, c.cluster, err, c.want)
		}
	}
}
