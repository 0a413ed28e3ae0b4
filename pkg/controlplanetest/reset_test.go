// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

func object(t testing.TB, manifest string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestReset changes a control plane in a hundred ways. After each Reset the state is
// restored, and the control plane works.
func TestReset(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	first := newDirt(t, cp)
	first.whole()
	was := first.state()
	run := func(name string, dirty func(d *dirt)) {
		t.Run(name, func(t *testing.T) {
			d := newDirt(t, cp)
			dirty(d)
			begin := time.Now()
			cp.Reset(t)
			t.Logf("Reset took %v", time.Since(begin))
			d.compare(was, d.state())
			d.works()
			cp.Reset(t)
		})
	}
	for _, object := range dirtyObjects {
		run(object.name, func(d *dirt) { d.create(object.manifest) })
	}
	for _, change := range dirtyChanges {
		run(change.name, change.do)
	}
}
