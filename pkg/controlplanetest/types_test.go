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
			for i := range typ.NumField() {
				walk(way+"."+typ.Field(i).Name, typ.Field(i).Type)
			}
		case reflect.Func:
			for i := range typ.NumIn() {
				walk(way+"()", typ.In(i))
			}
			for i := range typ.NumOut() {
				walk(way+"()", typ.Out(i))
			}
		}
		for i := range typ.NumMethod() {
			walk(way+"."+typ.Method(i).Name, typ.Method(i).Type)
		}
	}
	walk("ControlPlane", reflect.TypeFor[*controlplanetest.ControlPlane]())
	walk("Config", reflect.TypeFor[controlplanetest.Config]())
	if len(ways) < 100 {
		t.Errorf("visited %d types, want at least 100", len(ways))
	}
}
