// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// TestUnknownUpstream verifies that Current returns an error if upstream keeps the
// storages in another way, and that requests do not wait or panic.
func TestUnknownUpstream(t *testing.T) {
	t.Parallel()
	type info struct {
		spec *apiextensionsv1.CustomResourceDefinitionSpec
	}
	for name, storages := range map[string]any{
		"no map":              "storages",
		"a map of structs":    map[string]info{"uid": {spec: nil}},
		"another field":       map[string]*info{"uid": {spec: nil}},
		"pointers to no info": map[string]*int{"uid": new(int)},
	} {
		var byUID atomic.Value
		byUID.Store(storages)
		c := &Storages{making: &sync.Mutex{}, byUID: &byUID}
		if _, err := c.Current(); !errors.Is(err, errUnknownUpstream) {
			t.Errorf("%s: got error %v, want %v", name, err, errUnknownUpstream)
		}
		if !c.InForce() {
			t.Errorf("%s: InForce returned false, want true", name)
		}
	}
}
