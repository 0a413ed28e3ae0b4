// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"encoding/json"
	"testing"

	apiextensionsopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	aggregatoropenapi "k8s.io/kube-aggregator/pkg/generated/openapi"
	builderutil "k8s.io/kube-openapi/pkg/builder3/util"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

func testRef(name string) spec.Ref {
	return spec.MustCreateRef("#/components/schemas/" + openapicommon.EscapeJsonPointer(name))
}

func definitionJSON(t *testing.T, definition openapicommon.OpenAPIDefinition) string {
	t.Helper()
	schema, err := json.Marshal(definition.Schema)
	if err != nil {
		t.Fatal(err)
	}
	dependencies, err := json.Marshal(definition.Dependencies)
	if err != nil {
		t.Fatal(err)
	}
	return string(schema) + string(dependencies)
}

// TestSmallDefinitions: the small servers describe their types as all the others do.
func TestSmallDefinitions(t *testing.T) {
	all := DefinitionsV2(testRef)
	for who, small := range map[string]openapicommon.GetOpenAPIDefinitions{
		"extensions": apiextensionsopenapi.GetOpenAPIDefinitions,
		"aggregator": aggregatoropenapi.GetOpenAPIDefinitions,
	} {
		for name, definition := range small(testRef) {
			if got, want := definitionJSON(t, definition), definitionJSON(t, all[name]); got != want {
				t.Errorf("%s: %s is\n%s\nwant\n%s", who, name, got, want)
			}
		}
	}
}

// TestSharedDefinitions: what one server does to its definitions, as upstream's
// builders do, is not seen by another, and a builder makes the same of them.
func TestSharedDefinitions(t *testing.T) {
	want := DefinitionsV2(testRef)
	for _, definition := range DefinitionsV3(testRef) {
		for extension := range definition.Schema.Extensions {
			definition.Schema.Extensions[extension] = "of one server"
		}
	}
	got := DefinitionsV3(testRef)
	if len(got) != len(want) || len(got) < 1000 {
		t.Fatalf("%d definitions, want %d", len(got), len(want))
	}
	for name, definition := range want {
		again := got[name]
		definition.Schema = *builderutil.WrapRefs(&definition.Schema)
		again.Schema = *builderutil.WrapRefs(&again.Schema)
		if got, want := definitionJSON(t, again), definitionJSON(t, definition); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
}
