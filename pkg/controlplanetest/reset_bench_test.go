// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// BenchmarkReset measures only Reset, after tests of several sizes.
func BenchmarkReset(b *testing.B) {
	cp := controlplanetest.New(b, controlplanetest.Config{})
	newDirt(b, cp).whole()
	for name, dirty := range map[string]func(d *dirt){
		"nothing":            func(*dirt) {},
		"namespace":          func(d *dirt) { d.create(manifestOf(b, "namespace with objects")) },
		"1000 objects":       (*dirt).thousand,
		"CRD":                func(d *dirt) { d.create(manifestOf(b, "CRD without custom resources")) },
		"CRD, 100 objects":   func(d *dirt) { d.hundredWidgets() },
		"policy and binding": func(d *dirt) { d.create(manifestOf(b, "validating policy with a binding")) },
	} {
		b.Run(name, func(b *testing.B) {
			d := newDirt(b, cp)
			cp.Reset(b)
			for range b.N {
				b.StopTimer()
				dirty(d)
				b.StartTimer()
				cp.Reset(b)
			}
		})
	}
}

// hundredWidgets creates a CRD and a hundred custom resources.
func (d *dirt) hundredWidgets() {
	d.t.Helper()
	first := d.create(manifestOf(d.t, "CRD with integers"))[1]
	for i := range 99 {
		widget := first.DeepCopy()
		widget.SetName(fmt.Sprint("a-", i))
		widget.SetResourceVersion("")
		_, err := d.dynamic.Resource(widgets).Namespace("default").Create(d.t.Context(), widget, metav1.CreateOptions{})
		d.must(err)
	}
}
