// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubembed/kubembed/internal/wire"
)

// FuzzBodies: no body makes a measurement panic, or passes with a cost above the limits.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		`{"metadata":{"name":"a"},"items":[{},{}]}`, `[[["\""]]]`, `{"a":"\\`,
		"a: {b: [1, 2]}\nc: &x d\n", "- - - -", "k8s\x00\n\x02v1",
		"\xa1\x61a\x9f\x01\xff", "\x5f\x41a\xff", "\xbf\xff", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
		"\n\x03\n\x01a", "\n\x80\x80\x80\x80\x10",
	} {
		f.Add([]byte(seed))
	}
	shape := shapeOf[corev1.Pod]()
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, measure := range map[string]func() (wire.Cost, error){
			"JSON":     func() (wire.Cost, error) { return wire.JSON(body, wire.Typed, limits) },
			"YAML":     func() (wire.Cost, error) { return wire.YAML(body, wire.Untyped, limits) },
			"CBOR":     func() (wire.Cost, error) { return wire.CBOR(body, wire.Untyped, limits) },
			"protobuf": func() (wire.Cost, error) { return wire.Protobuf(body, shape, limits) },
		} {
			cost, err := measure()
			if err == nil && (cost.Depth > limits.Depth || cost.Bytes > limits.Bytes || cost.Nested > limits.Nested) {
				t.Errorf("%s: got cost %+v, want at most %+v", name, cost, limits)
			}
		}
		_, _ = wire.Open(body)
		if got := wire.LongestList(body); got > len(body) {
			t.Errorf("got a list of %d objects in %d bytes", got, len(body))
		}
	})
}
