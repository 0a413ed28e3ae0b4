// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestRegroup(t *testing.T) {
	const crd = "kind: CustomResourceDefinition\nmetadata: {name: gadgets.example.com}\nspec: {group: example.com, names: {plural: gadgets}}\n"
	again, err := regroup([]byte(crd), "again1.")
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(again, &object.Object); err != nil {
		t.Fatal(err)
	}
	group, _, _ := unstructured.NestedString(object.Object, "spec", "group")
	if object.GetName() != "gadgets.again1.example.com" || group != "again1.example.com" {
		t.Errorf("got name %s, group %s", object.GetName(), group)
	}
}
