// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// The compiler visits all types behind the types of an imported package, also in
// unexported fields, and instantiates the methods of generic ones again: for each test
// package, after each change. Upstream's server types took more than half of the
// compile time of a small test.
func TestTypesDoNotLeadToUpstreamsServers(t *testing.T) {
	servers := []string{
		"github.com/kubembed/kubembed/internal/storage",
		"go.etcd.io/etcd/server/",
		"k8s.io/apiextensions-apiserver/pkg/apiserver",
		"k8s.io/apiserver/pkg/server",
		"k8s.io/kube-aggregator/pkg/apiserver",
		"k8s.io/kubernetes/",
	}
	ways := map[reflect.Type]string{}
	var walk func(way string, typ reflect.Type)
	walk = func(way string, typ reflect.Type) {
		if _, seen := ways[typ]; seen {
			return
		}
		ways[typ] = way
		for _, directory := range servers {
			if strings.HasPrefix(typ.PkgPath()+"/", directory) {
				t.Errorf("%s is a %s", way, typ)
				return // without the types behind it
			}
		}
		switch typ.Kind() {
		case reflect.Map:
			walk(way+"[]", typ.Key())
			walk(way+"[]", typ.Elem())
		case reflect.Array, reflect.Chan, reflect.Pointer, reflect.Slice:
			walk(way, typ.Elem())
		case reflect.Struct:
			for field := range typ.Fields() {
				walk(way+"."+field.Name, field.Type)
			}
		case reflect.Func:
			for in := range typ.Ins() {
				walk(way+"()", in)
			}
			for out := range typ.Outs() {
				walk(way+"()", out)
			}
		}
		for method := range typ.Methods() {
			walk(way+"."+method.Name, method.Type)
		}
	}
	walk("ControlPlane", reflect.TypeFor[*controlplanetest.ControlPlane]())
	walk("Config", reflect.TypeFor[controlplanetest.Config]())
	if len(ways) < 100 {
		t.Errorf("visited %d types, want at least 100", len(ways))
	}
}
