// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	crdsPath       = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	csrsPath       = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	podsPath       = "/api/v1/namespaces/default/pods"
	configMapsPath = "/api/v1/namespaces/default/configmaps"
	protobufType   = "Content-Type: application/vnd.kubernetes.protobuf"
	jsonPatchType  = "Content-Type: application/json-patch+json"
	mergePatchType = "Content-Type: application/merge-patch+json"
	applyType      = "Content-Type: application/apply-patch+yaml"
	yamlType       = "Content-Type: application/yaml"
)

// pbField is a protobuf field with a length.
func pbField(number protowire.Number, parts ...string) string {
	content := strings.Join(parts, "")
	return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), content))
}

// pbBody is the body of a request.
func pbBody(t testing.TB, apiVersion, kind, raw string) string {
	t.Helper()
	u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: kind}, Raw: []byte(raw)}
	return "k8s\x00" + string(must(u.Marshal())(t))
}

// pbNested nests fields in each other, once per level and number.
func pbNested(levels int, numbers ...protowire.Number) string {
	// A length precedes its bytes, so the bytes are written from the inside, backwards.
	var reversed []byte
	for range levels {
		for _, number := range slices.Backward(numbers) {
			head := protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.BytesType), uint64(len(reversed)))
			slices.Reverse(head)
			reversed = append(reversed, head...)
		}
	}
	slices.Reverse(reversed)
	return string(reversed)
}

// pbCRD returns a CustomResourceDefinition in protobuf with a schema in protobuf.
func pbCRD(t testing.TB, plural, group, schema string) string {
	t.Helper()
	names := &apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: "Deep"}
	meta := &metav1.ObjectMeta{Name: plural + "." + group}
	version := pbField(1, "v1") + "\x10\x01\x18\x01" + pbField(4, pbField(1, schema))
	return pbField(1, string(must(meta.Marshal())(t))) + pbField(2, pbField(1, group), pbField(3, string(must(names.Marshal())(t))), pbField(4, "Namespaced"), pbField(7, version))
}

// jsonCRD returns a CustomResourceDefinition with a schema in JSON.
func jsonCRD(t testing.TB, plural, group, schema string) string {
	t.Helper()
	crd := map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": plural + "." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced", "names": map[string]any{"plural": plural, "kind": "Deep" + plural},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": "SCHEMA"}}},
		},
	}
	return strings.Replace(string(must(json.Marshal(crd))(t)), `"SCHEMA"`, schema, 1)
}

func nestedText(open, inner, end string, levels int) string {
	return strings.Repeat(open, levels) + inner + strings.Repeat(end, levels)
}
