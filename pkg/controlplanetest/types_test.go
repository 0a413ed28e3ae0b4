package controlplanetest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// The compiler goes through all types that are behind those of an imported package,
// in fields that are not exported too, and makes the methods of what is generic among
// them again: for each test, after each change. With upstream's servers behind them
// that was more than half of what a small test takes to compile.
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
				return // and not all that is behind it
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
		t.Errorf("only %d types were looked at", len(ways))
	}
}
