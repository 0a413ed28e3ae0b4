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
	state := func(uid types.UID, generation int64) *apiextensionsv1.CustomResourceDefinition {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		crd.Name, crd.UID, crd.Generation = resource.String(), uid, generation
		crd.Spec.Group, crd.Status.AcceptedNames.Plural = resource.Group, resource.Resource
		if err := indexer.Update(crd); err != nil {
			t.Fatal(err)
		}
		return crd
	}
	first := state("a", 1)
	if made.old(first) {
		t.Error("what was never made is old")
	}
	made.add(resource)
	if made.old(first) {
		t.Error("what was made by this state is old")
	}
	second := state("a", 2)
	if !made.old(second) {
		t.Error("what was made by an older state is not old")
	}
	made.add(resource)
	if made.old(second) || made.old(first) {
		t.Error("what was made again is old")
	}
	if made.old(state("b", 3)) {
		t.Error("what was made by a definition of the same name, which is gone, is old")
	}
}
