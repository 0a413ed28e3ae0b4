// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net"
	"reflect"
	"testing"
)

// TestClone: what a caller does with its Config after New is no change of the server.
func TestClone(t *testing.T) {
	made := func() Config {
		return Config{
			ServiceCIDR:             &net.IPNet{IP: net.IP{10, 0, 0, 0}, Mask: net.CIDRMask(24, 32)},
			RuntimeConfig:           map[string]string{"api/all": "true"},
			DisableAdmissionPlugins: []string{"LimitRanger"},
			EtcdOverrides:           []EtcdOverride{{Resources: []string{"events"}}},
			Authentication:          Authentication{Tokens: []StaticToken{{Token: "t"}}},
			Authorization:           Authorization{Modes: []string{"RBAC"}},
			Serving:                 Serving{CORSAllowedOrigins: []string{"//example.com$"}},
		}
	}
	c := made()
	kept := c.clone()
	c.ServiceCIDR.IP[0] = 11
	c.RuntimeConfig["api/all"] = "false"
	c.DisableAdmissionPlugins[0], c.EtcdOverrides[0].Resources[0], c.Authentication.Tokens[0].Token = "", "", ""
	c.Authorization.Modes[0], c.Serving.CORSAllowedOrigins[0] = "", ""
	if want := made(); !reflect.DeepEqual(kept, want) {
		t.Errorf("got %+v, want %+v", kept, want)
	}
}
