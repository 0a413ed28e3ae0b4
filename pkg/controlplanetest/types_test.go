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
	var walk func(way string, one reflect.Type)
	walk = func(way string, one reflect.Type) {
		if _, seen := ways[one]; seen {
			return
		}
		ways[one] = way
		for _, directory := range servers {
			if strings.HasPrefix(one.PkgPath()+"/", directory) {
				t.Errorf("%s is a %s", way, one)
				return // and not all that is behind it
			}
		}
		switch one.Kind() {
		case reflect.Map:
			walk(way+"[]", one.Key())
			walk(way+"[]", one.Elem())
		case reflect.Array, reflect.Chan, reflect.Pointer, reflect.Slice:
			walk(way, one.Elem())
		case reflect.Struct:
			for i := range one.NumField() {
				walk(way+"."+one.Field(i).Name, one.Field(i).Type)
			}
		case reflect.Func:
			for i := range one.NumIn() {
				walk(way+"()", one.In(i))
			}
			for i := range one.NumOut() {
				walk(way+"()", one.Out(i))
			}
		}
		for i := range one.NumMethod() {
			walk(way+"."+one.Method(i).Name, one.Method(i).Type)
		}
	}
	walk("ControlPlane", reflect.TypeFor[*controlplanetest.ControlPlane]())
	walk("Config", reflect.TypeFor[controlplanetest.Config]())
	if len(ways) < 100 {
		t.Errorf("only %d types were looked at", len(ways))
	}
}
