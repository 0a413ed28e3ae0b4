package apiserver

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// TestMadeStorages: a storage is old when its definition has changed since it was made.
func TestMadeStorages(t *testing.T) {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	made := madeStorages{definitions: listers.NewCustomResourceDefinitionLister(indexer)}
	resource := apiextensionsv1.Resource("widgets")
	state := func(uid types.UID, generation int64) {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		crd.Name, crd.UID, crd.Generation = resource.String(), uid, generation
		crd.Spec.Group, crd.Status.AcceptedNames.Plural = resource.Group, resource.Resource
		crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true}}
		crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{
			{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue},
		}
		if err := indexer.Update(crd); err != nil {
			t.Fatal(err)
		}
	}
	old := func() bool { return len(made.outdated()) > 0 }
	state("a", 1)
	if old() {
		t.Error("what was never made is old")
	}
	made.add(resource)
	if old() {
		t.Error("what was made by this state is old")
	}
	state("a", 2)
	if !old() {
		t.Error("what was made by an older state is not old")
	}
	made.add(resource)
	if old() {
		t.Error("what was made again is old")
	}
	state("b", 3)
	if old() {
		t.Error("what was made by a definition of the same name, which is gone, is old")
	}
}
