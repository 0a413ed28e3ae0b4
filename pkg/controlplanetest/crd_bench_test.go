// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// BenchmarkCRDs installs a hundred CRDs like operators' on a new control plane:
// from YAML files with descriptions, of 100 kB on average, in ten groups, one in ten
// with a whole pod template.
func BenchmarkCRDs(b *testing.B) {
	const crds = 100
	directory := b.TempDir()
	size := writeCRDs(b, directory, crds)
	var heap uint64
	var goroutines int
	for b.Loop() {
		b.StopTimer()
		var r recorder
		r.run(func(t controlplanetest.TB) {
			cp := controlplanetest.New(t, controlplanetest.Config{})
			heapBefore, goroutinesBefore := heapInUse(), runtime.NumGoroutine()
			b.StartTimer()
			cp.InstallCRDs(t, controlplanetest.CRDs{Paths: []string{directory}})
			b.StopTimer()
			heap += heapInUse() - heapBefore
			goroutines += runtime.NumGoroutine() - goroutinesBefore
		})
		if r.failed {
			b.Fatal(r.text())
		}
		b.StartTimer()
	}
	n := b.N * crds
	b.ReportMetric(float64(b.Elapsed())/float64(time.Millisecond)/float64(n), "ms/CRD")
	b.ReportMetric(float64(heap)/1024/float64(n), "heap-KiB/CRD")
	b.ReportMetric(float64(goroutines)/float64(n), "goroutines/CRD")
	b.ReportMetric(float64(size)/1024/crds, "YAML-KiB/CRD")
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func writeCRDs(tb testing.TB, directory string, n int) (size int) {
	specs := []reflect.Type{
		reflect.TypeFor[appsv1.DeploymentSpec](),
		reflect.TypeFor[corev1.ServiceSpec](), reflect.TypeFor[networkingv1.IngressSpec](), reflect.TypeFor[corev1.Container](),
		reflect.TypeFor[corev1.Affinity](), reflect.TypeFor[corev1.PersistentVolumeSpec](), reflect.TypeFor[networkingv1.NetworkPolicySpec](),
		reflect.TypeFor[corev1.Volume](), reflect.TypeFor[corev1.NodeSpec](), reflect.TypeFor[corev1.SecurityContext](),
	}
	for i := range n {
		kind := schema.GroupVersionKind{Group: fmt.Sprintf("group%d.example.com", i/10), Version: "v1", Kind: fmt.Sprint("Kind", i)}
		crd := controlplanetest.NewCRD(kind, fmt.Sprintf("kind%ds", i), apiextensionsv1.NamespaceScoped)
		spec := schemaOf(specs[i%len(specs)])
		spec.XValidations = apiextensionsv1.ValidationRules{{Rule: "self == self", Message: "is itself"}}
		crd.Spec.Versions[0].Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{
			Type:       "object",
			Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": spec, "status": schemaOf(reflect.TypeFor[appsv1.DeploymentStatus]())},
		}
		data, err := yaml.Marshal(crd)
		if err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(directory, crd.Name+".yaml"), data, 0o600); err != nil {
			tb.Fatal(err)
		}
		size += len(data)
	}
	return size
}

// schemaOf returns a schema like controller-gen's for a type.
func schemaOf(t reflect.Type) apiextensionsv1.JSONSchemaProps {
	if t.Kind() == reflect.Pointer {
		return schemaOf(t.Elem())
	}
	switch {
	case t.String() == "intstr.IntOrString":
		return apiextensionsv1.JSONSchemaProps{XIntOrString: true}
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()):
		return apiextensionsv1.JSONSchemaProps{Type: "string"}
	}
	switch t.Kind() {
	case reflect.Struct:
		props := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
		docs := map[string]string{}
		if documented, ok := reflect.TypeAssert[interface{ SwaggerDoc() map[string]string }](reflect.Zero(t)); ok {
			docs = documented.SwaggerDoc()
		}
		for field := range t.Fields() {
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			field := schemaOf(field.Type)
			if strings.Contains(options, "inline") {
				maps.Copy(props.Properties, field.Properties)
				continue
			}
			field.Description = docs[name]
			props.Properties[name] = field
		}
		return props
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return apiextensionsv1.JSONSchemaProps{Type: "string", Format: "byte"}
		}
		items := schemaOf(t.Elem())
		return apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &items}}
	case reflect.Map:
		values := schemaOf(t.Elem())
		return apiextensionsv1.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &values}}
	case reflect.Bool:
		return apiextensionsv1.JSONSchemaProps{Type: "boolean"}
	case reflect.String:
		return apiextensionsv1.JSONSchemaProps{Type: "string"}
	default:
		return apiextensionsv1.JSONSchemaProps{Type: "integer"}
	}
}
