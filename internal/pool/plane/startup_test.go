// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// TestStartWithoutEndpoints: the kubernetes Service gets no endpoints if the machine has
// no address of its family or their API is switched off, and no start waits for them.
func TestStartWithoutEndpoints(t *testing.T) {
	for name, options := range map[string]protocol.Options{
		"other family": {ServiceCIDR: "fd00:10:96::/112"},
		"no API":       {RuntimeConfig: map[string]string{"discovery.k8s.io/v1": "false"}},
	} {
		t.Run(name, func(t *testing.T) {
			startFor(t, options, 0)
		})
	}
}

// TestMarksStay: tests cannot switch off the admission plugin of the program.
func TestMarksStay(t *testing.T) {
	if _, err := Start(t.Context(), protocol.Options{DisableAdmissionPlugins: []string{pluginName}}); err == nil || !strings.Contains(err.Error(), "must not have "+pluginName) {
		t.Errorf("got %v, want an error of the plugin", err)
	}
}
