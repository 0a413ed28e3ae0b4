package main

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestNumbers(t *testing.T) {
	var n numbers
	if err := n.Set("1, 16,128"); err != nil || n.String() != "1,16,128" {
		t.Errorf("got %s, %v", n.String(), err)
	}
	for _, bad := range []string{"", "0", "-1", "1,,2", "x"} {
		if err := n.Set(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

func TestSizesAreComplete(t *testing.T) {
	for name, s := range map[string]sizes{"full": fullSizes(), "quick": quickSizes()} {
		if err := s.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := fullSizes()
	s.Requests = numbers{1}
	if err := s.check(); err == nil {
		t.Error("got no error for missing numbers of requests")
	}
}

func TestChooseSections(t *testing.T) {
	for _, c := range []struct{ only, skip, has, hasNot string }{
		{"", "", "start", "cold"},
		{"cold", "", "cold", "start"},
		{"start,list", "list", "start", "list"},
		{"", "crds", "start", "crds"},
	} {
		chosen, err := chooseSections(c.only, c.skip)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range chosen {
			names = append(names, s.name)
		}
		text := "," + strings.Join(names, ",") + ","
		if !strings.Contains(text, ","+c.has+",") || strings.Contains(text, ","+c.hasNot+",") {
			t.Errorf("-only=%s -skip=%s: got %s", c.only, c.skip, names)
		}
	}
	if _, err := chooseSections("starts", ""); err == nil {
		t.Error("got no error for an unknown section")
	}
}

func TestParseField(t *testing.T) {
	const text = "processor\t: 0\nmodel name\t: Some CPU\nmodel name\t: Another\n"
	if got, err := parseField(strings.NewReader(text), "model name"); err != nil || got != "Some CPU" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := parseField(strings.NewReader(text), "MemTotal"); err != nil || got != "unknown" {
		t.Errorf("got %q, %v", got, err)
	}
}

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
