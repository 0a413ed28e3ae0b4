package controlplanetest

import (
	"context"
	"reflect"
	"slices"
	"strings"
)

// ginkgo is what GinkgoT has beyond a TB. The fixture does not import Ginkgo.
type ginkgo interface {
	DeferCleanup(args ...any)
	AddReportEntryVisibilityAlways(name string, args ...any)
}

// asGinkgo returns what GinkgoT or GinkgoTB has returned, or nil.
func asGinkgo(t TB) ginkgo {
	if g, ok := t.(ginkgo); ok {
		return g
	}
	return ginkgoIn(reflect.ValueOf(t))
}

// ginkgoIn returns what a struct, or a pointer to one, has of Ginkgo in a field: GinkgoTB
// has GinkgoT there, and a wrapper of a project's own embeds either, as testing.TB mostly.
func ginkgoIn(v reflect.Value) ginkgo {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() || !field.Anonymous && field.Name != "GinkgoT" {
			continue
		}
		value := v.Field(i)
		if g, ok := value.Interface().(ginkgo); ok {
			return g
		}
		if value.Kind() == reflect.Interface {
			value = value.Elem()
		}
		if g := ginkgoIn(value); g != nil {
			return g
		}
	}
	return nil
}

// atEnd registers a cleanup function. With Ginkgo its context is that of the node.
func atEnd(t TB, f func(ctx context.Context)) {
	t.Helper()
	if g := asGinkgo(t); g != nil {
		g.DeferCleanup(f)
		return
	}
	t.Cleanup(func() {
		t.Helper()
		f(context.Background())
	})
}

// verdict says how a test has ended.
type verdict struct {
	failed bool
	// specs are Ginkgo's failed specs, where the node that owns the control plane is of several.
	specs []string
	// unknown is true where the results of specs cannot be read from this version of Ginkgo.
	unknown bool
}

// verdict returns whether the test has failed. With Ginkgo a node for several specs
// (BeforeSuite, BeforeAll) owns the control plane, and its cleanup has a report of its
// own, or that of the last spec.
func (cp *ControlPlane) verdict(ctx context.Context, t TB) verdict {
	v := verdict{failed: t.Failed()}
	if asGinkgo(t) == nil || cp.node != "" && cp.node == t.Name() {
		return v
	}
	if v.failed {
		v.specs = append(v.specs, nameOf(t))
	}
	specs, ok := ginkgoSpecs(ctx)
	if !ok {
		v.unknown = !v.failed
		return v
	}
	first := 0
	if cp.node != "" { // BeforeAll: it had the name of the first of its specs
		first = len(specs)
		for i, spec := range slices.Backward(specs) {
			if spec.name == cp.node {
				first = i
				break
			}
		}
	}
	for _, spec := range specs[first:] {
		if spec.failed {
			v.failed = true
			v.specs = append(v.specs, spec.name)
		}
	}
	return v
}

type ginkgoSpec struct {
	name   string
	failed bool
}

// ginkgoOK are the bits of types.SpecState of specs that have not failed: pending,
// skipped, passed.
const ginkgoOK = 1<<1 | 1<<2 | 1<<3

// ginkgoSpecs returns the specs of the suite that have ended. A node can ask Ginkgo
// for the current one only, so they are read from the suite behind the context of the
// node. Ginkgo waits for the node meanwhile. It reports false where a version of Ginkgo
// keeps them in another way, which examples/envtest-migration/failures tests.
func ginkgoSpecs(ctx context.Context) (specs []ginkgoSpec, ok bool) {
	defer func() {
		if recover() != nil { // of package reflect: there is no such field
			specs, ok = nil, false
		}
	}()
	node := ctx.Value("GINKGO_SPEC_CONTEXT")
	if node == nil {
		return nil, false
	}
	reports := reflect.ValueOf(node).Elem().FieldByName("suite").Elem().FieldByName("report").FieldByName("SpecReports")
	for i := range reports.Len() {
		report := reports.Index(i)
		var texts []string
		containers := report.FieldByName("ContainerHierarchyTexts")
		for j := range containers.Len() {
			texts = append(texts, containers.Index(j).String())
		}
		if leaf := report.FieldByName("LeafNodeText").String(); leaf != "" {
			texts = append(texts, leaf)
		}
		spec := ginkgoSpec{name: strings.Join(texts, " "), failed: report.FieldByName("State").Uint()&^ginkgoOK != 0}
		if spec.name == "" {
			spec.name = suiteNode
		}
		specs = append(specs, spec)
	}
	return specs, true
}

// suiteNode is the name of a node of Ginkgo that is of no spec.
const suiteNode = "the suite"

// say writes what must be seen where the test has failed. Ginkgo shows the log of a
// node that has itself failed, and report entries in any case.
func say(t TB, heading, text string) {
	t.Helper()
	if g := asGinkgo(t); g != nil && !t.Failed() {
		g.AddReportEntryVisibilityAlways("controlplanetest", heading+text)
		return
	}
	t.Logf("controlplanetest: %s%s", heading, text)
}
