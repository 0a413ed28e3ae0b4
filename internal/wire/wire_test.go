// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kubembed/kubembed/internal/wire"
)

var limits = wire.Limits{Depth: 100, Bytes: 16 << 20, Nested: 16 << 20}

func field(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

// nested nests a field in itself.
func nested(number protowire.Number, levels int, wrap func([]byte) []byte) (b []byte) {
	for range levels {
		b = field(number, wrap(b))
	}
	return b
}

func same(b []byte) []byte { return b }

func shapeOf[T any]() *wire.Shape {
	var types wire.Types
	return types.Of(reflect.TypeFor[T]())
}

// TestDeepSchemas: every way to nest a schema in a schema counts as a level.
func TestDeepSchemas(t *testing.T) {
	shape := shapeOf[apiextensionsv1.JSONSchemaProps]()
	entry := func(b []byte) []byte { return append(field(1, []byte("a")), field(2, b)...) }
	first := func(b []byte) []byte { return field(1, b) }
	second := func(b []byte) []byte { return field(2, b) }
	entryFirst := func(b []byte) []byte { return entry(field(1, b)) }
	ways := map[string]struct {
		number protowire.Number
		wrap   func([]byte) []byte
	}{
		"items": {24, first}, "items list": {24, second}, "allOf": {25, same}, "oneOf": {26, same}, "anyOf": {27, same}, "not": {28, same},
		"properties": {29, entry}, "additionalProperties": {30, second}, "patternProperties": {31, entry},
		"dependencies": {32, entryFirst}, "additionalItems": {33, second}, "definitions": {34, entry},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			body := nested(way.number, 30, way.wrap)
			var decoded apiextensionsv1.JSONSchemaProps
			if err := decoded.Unmarshal(body); err != nil {
				t.Fatal(err)
			}
			// The case tests the field only if the decoder nests it.
			text, err := json.Marshal(decoded)
			if err != nil || bytes.Count(text, []byte("{")) < 30 {
				t.Fatalf("want 30 levels: %s %v", text, err)
			}
			if cost, err := wire.Protobuf(body, shape, limits); err != nil || cost.Depth < 30 {
				t.Errorf("30 levels: got %+v, %v", cost, err)
			}
			_, err = wire.Protobuf(nested(way.number, 101, way.wrap), shape, limits)
			refused(t, err, false, "nested too deep")
		})
	}
}

func refused(t *testing.T, err error, tooLarge bool, text string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.TooLarge != tooLarge || !strings.Contains(e.Error(), text) {
		t.Errorf("got error %v, want one with %q, TooLarge %v", err, text, tooLarge)
	}
}

// TestDeepDocuments: JSON in protobuf is decoded later, by unknown code.
func TestDeepDocuments(t *testing.T) {
	deep := []byte(strings.Repeat(`{"f:a":`, 200) + "{}" + strings.Repeat("}", 200))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{FieldsV1: metav1.NewFieldsV1(string(deep))}}}}
	schema := &apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{"a": {Default: &apiextensionsv1.JSON{Raw: deep}}}}
	for name, c := range map[string]struct {
		m     interface{ Marshal() ([]byte, error) }
		shape *wire.Shape
	}{"managedFields": {pod, shapeOf[corev1.Pod]()}, "default": {schema, shapeOf[apiextensionsv1.JSONSchemaProps]()}} {
		body, err := c.m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		_, err = wire.Protobuf(body, c.shape, limits)
		t.Run(name, func(t *testing.T) { refused(t, err, false, "nested too deep") })
	}
}

// TestBytesAreNoMessages: large bytes are accepted, as they may hold anything.
func TestBytesAreNoMessages(t *testing.T) {
	data := nested(1, 400, same)
	cm := &corev1.ConfigMap{BinaryData: map[string][]byte{"x": data, "y": bytes.Repeat([]byte{10, 0}, 100_000)}, Data: map[string]string{"z": string(data)}}
	body, err := cm.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	cost, err := wire.Protobuf(body, shapeOf[corev1.ConfigMap](), limits)
	if err != nil || cost.Bytes > 3*int64(len(body)) {
		t.Errorf("got %+v, %v for %d bytes", cost, err, len(body))
	}
}

// TestEntriesThatOverlap: the generated code decodes a value twice if it ends after its
// entry.
func TestEntriesThatOverlap(t *testing.T) {
	overlapping := func(levels int) (b []byte) {
		for range levels {
			value := append(protowire.AppendVarint([]byte{2<<3 | 2}, uint64(len(b))), b...)
			b = append([]byte{29<<3&0x7f | 0x80 | 2, 29 >> 4, 2}, value...) // the entry has two bytes
			if levels > 60 && len(value)-len(b) > 126 {
				t.Fatal("the length is too large for the test")
			}
		}
		return b
	}
	var schema apiextensionsv1.JSONSchemaProps
	if err := schema.Unmarshal(overlapping(8)); err != nil || len(schema.Properties) == 0 {
		t.Fatalf("the decoder no longer accepts it: %v %v", schema.Properties, err)
	}
	_, err := wire.Protobuf(overlapping(18), shapeOf[apiextensionsv1.JSONSchemaProps](), limits)
	refused(t, err, false, "not valid protobuf")
}

func TestMalformedProtobuf(t *testing.T) {
	for name, body := range map[string][]byte{
		"length":      {10, 0xff, 0xff, 0xff, 0x7f},
		"tag":         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"field 0":     {2, 0},
		"group":       {11, 12},
		"end":         {12},
		"truncated":   {10},
		"entry":       field(1, field(11, []byte{8, 0, 16, 0})), // labels with numbers for strings
		"wide number": append([]byte{0x8a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 0),
	} {
		_, err := wire.Protobuf(body, shapeOf[corev1.Pod](), limits)
		t.Run(name, func(t *testing.T) { refused(t, err, false, "not valid protobuf") })
	}
	for name, body := range map[string]string{"prefix": "k8x\x00", "empty": "", "two kinds": "k8s\x00" + string(field(1, append(field(2, []byte("A")), field(2, []byte("B"))...)))} {
		_, err := wire.Open([]byte(body))
		t.Run(name, func(t *testing.T) { refused(t, err, false, "protobuf") })
	}
}

// TestEmptyElements: the estimate for empty elements is not below the decoder's
// allocations.
func TestEmptyElements(t *testing.T) {
	const n = 10_000
	for name, c := range map[string]struct {
		body  []byte
		into  interface{ Unmarshal([]byte) error }
		shape *wire.Shape
	}{
		"csr":           {field(3, bytes.Repeat(field(1, nil), n)), &certificatesv1.CertificateSigningRequest{}, shapeOf[certificatesv1.CertificateSigningRequest]()},
		"containers":    {field(2, bytes.Repeat(field(2, nil), n)), &corev1.Pod{}, shapeOf[corev1.Pod]()},
		"managedFields": {field(1, bytes.Repeat([]byte{17<<3&0x7f | 0x80 | 2, 17 >> 4, 0}, n)), &corev1.Pod{}, shapeOf[corev1.Pod]()},
		"enum":          {bytes.Repeat([]byte{20<<3&0x7f | 0x80 | 2, 20 >> 4, 0}, n), &apiextensionsv1.JSONSchemaProps{}, shapeOf[apiextensionsv1.JSONSchemaProps]()},
		"args":          {field(2, field(2, bytes.Repeat(field(3, nil), n))), &corev1.Pod{}, shapeOf[corev1.Pod]()},
		"packed":        {field(2, field(14, field(4, bytes.Repeat([]byte{1}, n)))), &corev1.Pod{}, shapeOf[corev1.Pod]()},
	} {
		t.Run(name, func(t *testing.T) {
			cost, err := wire.Protobuf(c.body, c.shape, wire.Limits{Depth: 100, Bytes: 1 << 30, Nested: 1 << 30})
			if err != nil {
				t.Fatal(err)
			}
			if got := allocated(func() { err = c.into.Unmarshal(c.body) }); err != nil || cost.Bytes < got/2 {
				t.Errorf("estimated %d bytes, allocated %d, %v", cost.Bytes, got, err)
			}
			_, err = wire.Protobuf(c.body, c.shape, wire.Limits{Depth: 100, Bytes: 64 << 10, Nested: 1 << 30})
			refused(t, err, true, "memory")
		})
	}
}

func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// TestJSONElements: elements of a wrong type take as much memory as elements of the right
// one.
func TestJSONElements(t *testing.T) {
	const n = 2_000
	for name, element := range map[string]string{"objects": "{}", "nulls": "null", "numbers": "1", "strings": `""`, "arrays": "[]"} {
		t.Run(name, func(t *testing.T) {
			body := []byte(`{"spec":{"containers":[` + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + `]}}`)
			cost, err := wire.JSON(body, wire.Typed, limits)
			if err != nil {
				t.Fatal(err)
			}
			var pod corev1.Pod
			if got := allocated(func() { _ = json.Unmarshal(body, &pod) }); len(pod.Spec.Containers) < n || cost.Bytes < got/2 {
				t.Errorf("estimated %d bytes, allocated %d for %d containers", cost.Bytes, got, len(pod.Spec.Containers))
			}
			cost, err = wire.JSON(body, wire.Untyped, limits)
			if err != nil {
				t.Fatal(err)
			}
			var object any
			if got := allocated(func() { _ = json.Unmarshal(body, &object) }); cost.Bytes < got/2 {
				t.Errorf("untyped: estimated %d bytes, allocated %d", cost.Bytes, got)
			}
		})
	}
}

func TestDepthOfText(t *testing.T) {
	deep := func(open, end string) []byte { return []byte(strings.Repeat(open, 101) + strings.Repeat(end, 101)) }
	for name, body := range map[string][]byte{"objects": deep(`{"a":`, "}"), "arrays": deep("[", "]"), "open": []byte(strings.Repeat(`[{"a":`, 60)), "after a string": []byte(`{"a\\":"\"","b":` + strings.Repeat("[", 101))} {
		_, err := wire.JSON(body, wire.Untyped, limits)
		t.Run("JSON "+name, func(t *testing.T) { refused(t, err, false, "nested too deep") })
	}
	for name, body := range map[string][]byte{"flow": deep("[", "]"), "block": []byte(strings.Repeat("- ", 101) + "a"), "quote": []byte(`{a: x", b: ` + string(deep("[", "]")) + "}")} {
		_, err := wire.YAML(body, wire.Untyped, limits)
		t.Run("YAML "+name, func(t *testing.T) { refused(t, err, false, "nested too deep") })
	}
	for name, body := range map[string][]byte{
		"arrays": bytes.Repeat([]byte{0x81}, 101), "maps": bytes.Repeat([]byte{0xa1, 0x40}, 101), "indefinite": bytes.Repeat([]byte{0x9f}, 101),
		"tags": bytes.Repeat([]byte{0xc1}, 101), "after a string": append([]byte{0x82, 0x41, 0xff}, bytes.Repeat([]byte{0x81}, 101)...),
	} {
		_, err := wire.CBOR(append(body, 0), wire.Untyped, limits)
		t.Run("CBOR "+name, func(t *testing.T) { refused(t, err, false, "nested too deep") })
	}
	// Brackets in strings and comments do not count.
	text := strings.Repeat("[{", 200)
	for name, err := range map[string]error{
		"JSON": second(wire.JSON([]byte(fmt.Sprintf(`{"a":%q,"b\"":[1]}`, text)), wire.Untyped, limits)),
		"YAML": second(wire.YAML([]byte("a: |\n  "+text+"\n# "+text+"\nb: [1]\n"), wire.Untyped, limits)),
		"CBOR": second(wire.CBOR(append([]byte{0xa1, 0x61, 'a', 0x59, 1, 0x90}, bytes.Repeat([]byte{0x81}, 400)...), wire.Untyped, limits)),
	} {
		if err != nil {
			t.Errorf("%s with brackets in strings: got %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestNestedLengths: types with an encoding of their own are read again at each level.
func TestNestedLengths(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	_, err := wire.JSON([]byte(strings.Repeat(`{"a":`, 50)+`"`+long+`"`+strings.Repeat("}", 50)), wire.Untyped, limits)
	refused(t, err, false, "too large for its depth")
	_, err = wire.Protobuf(nested(28, 50, func(b []byte) []byte {
		if b == nil {
			return field(5, []byte(long))
		}
		return b
	}), shapeOf[apiextensionsv1.JSONSchemaProps](), limits)
	refused(t, err, false, "too large for its depth")
}

func TestElementsOfYAMLAndCBOR(t *testing.T) {
	for _, body := range []string{"[" + strings.Repeat("a,", 100_000) + "a]", strings.Repeat("- a\n", 100_000)} {
		_, err := wire.YAML([]byte(body), wire.Typed, limits)
		refused(t, err, true, "memory")
	}
	_, err := wire.Parsing([]byte("[" + strings.Repeat("a,", 1_200_000) + "a]"))
	refused(t, err, true, "memory")
	// Text does not count.
	if n, err := wire.Parsing([]byte(`{"a":"` + strings.Repeat("1,", 1_200_000) + `"}`)); err != nil || n > 32<<20 {
		t.Errorf("text: got %d, %v", n, err)
	}
	for _, item := range []byte{0x80, 0xa0, 0x00, 0x40, 0xf6} {
		_, err := wire.CBOR(append([]byte{0x9f}, bytes.Repeat([]byte{item}, 300_000)...), wire.Untyped, limits)
		refused(t, err, true, "memory")
	}
}

func TestOrdinaryObjects(t *testing.T) {
	port := intstr.FromInt32(80)
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"a": "b"}, CreationTimestamp: metav1.Now()},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}}}}},
	}
	body, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if cost, err := wire.Protobuf(body, shapeOf[corev1.Pod](), limits); err != nil || cost.Depth < 5 || cost.Bytes > 64<<10 {
		t.Errorf("protobuf: got %+v, %v", cost, err)
	}
	if body, err = json.MarshalIndent(pod, "", "  "); err != nil {
		t.Fatal(err)
	}
	for name, measure := range map[string]func([]byte, wire.Sizes, wire.Limits) (wire.Cost, error){"JSON": wire.JSON, "YAML": wire.YAML} {
		if cost, err := measure(body, wire.Typed, limits); err != nil || cost.Depth < 5 || cost.Bytes > 128<<10 {
			t.Errorf("%s: got %+v, %v", name, cost, err)
		}
	}
}

func BenchmarkMeasure(b *testing.B) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "b"}}}}
	body, _ := pod.Marshal()
	text, _ := json.Marshal(pod)
	shape := shapeOf[corev1.Pod]()
	b.Run("protobuf", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = wire.Protobuf(body, shape, limits)
		}
	})
	b.Run("JSON", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = wire.JSON(text, wire.Typed, limits)
		}
	})
}

func TestLongestList(t *testing.T) {
	for body, want := range map[string]int{
		``: 0, `[`: 0, `]}{`: 0, `{"a":[1,2,3]}`: 0, `[{},{},{}]`: 3, `{"a":[{"b":[{},{},{"c":"[{},{},{},{}"}]},{}]}`: 3,
		`[[{}],[{}],{}]`: 1, `{"a":"\\\"","b":[{},{}]}`: 2,
	} {
		if got := wire.LongestList([]byte(body)); got != want {
			t.Errorf("%s: got %d, want %d", body, got, want)
		}
	}
}
