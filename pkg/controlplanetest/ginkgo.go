// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"reflect"
	"slices"
	"strings"
)

// ginkgo has methods of GinkgoT beyond TB. The fixture does not import Ginkgo.
type ginkgo interface {
	DeferCleanup(args ...any)
	AddReportEntryVisibilityAlways(name string, args ...any)
}

// asGinkgo returns the GinkgoT in t, or nil.
func asGinkgo(t TB) ginkgo {
	if g, ok := t.(ginkgo); ok {
		return g
	}
	return ginkgoIn(reflect.ValueOf(t))
}

// ginkgoIn returns the GinkgoT in a field of a struct, or of a pointer to one: GinkgoTB
// has it there, and a project's own wrapper embeds either, mostly as testing.TB.
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
		if g, ok := value.Interface().(ginkgo); ok { //nolint:modernize // the copy compiles with Go 1.24
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

// atEnd registers a cleanup function. With Ginkgo it gets the context of the node.
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

// verdict is the outcome of a test.
type verdict struct {
	failed bool
	// specs are the failed Ginkgo specs, if the node that owns the control plane has
	// several.
	specs []string
	// unknown is true if this version of Ginkgo does not reveal the results of specs.
	unknown bool
}

// verdict returns the outcome of the test. With Ginkgo a node of several specs
// (BeforeSuite, BeforeAll) may own the control plane. Its cleanup has its own report, or
// the last spec's.
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
	if cp.node != "" { // BeforeAll: it has the name of its first spec
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

// ginkgoOK are the bits of types.SpecState that are no failure: pending, skipped, passed.
const ginkgoOK = 1<<1 | 1<<2 | 1<<3

// ginkgoSpecs returns the specs of the suite that have ended. Ginkgo's API gives a node
// only the current spec, so ginkgoSpecs reads them from the suite behind the context of
// the node. Ginkgo waits for the node meanwhile. ginkgoSpecs reports false if a version
// of Ginkgo stores them differently. examples/envtest-migration/failures tests this.
func ginkgoSpecs(ctx context.Context) (specs []ginkgoSpec, ok bool) {
	defer func() {
		if recover() != nil { // package reflect: no such field
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

// suiteNode is the name of a Ginkgo node outside specs.
const suiteNode = "the suite"

// say writes a message that a user must see after a failure. Ginkgo shows the log only of
// a node that has itself failed, and report entries in any case.
func say(t TB, heading, text string) {
	t.Helper()
	if g := asGinkgo(t); g != nil && !t.Failed() {
		g.AddReportEntryVisibilityAlways("controlplanetest", heading+text)
		return
	}
	t.Logf("controlplanetest: %s%s", heading, text)
}
