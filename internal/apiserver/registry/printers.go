// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"reflect"
	"sync"

	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
	printerstorage "k8s.io/kubernetes/pkg/printers/storage"
)

// allPrinters returns the printers of all kinds, as kubectl get shows them. Upstream
// makes them once for each resource of each server, and changes none of them.
var allPrinters = sync.OnceValue(func() *printers.HumanReadableGenerator {
	return printers.NewTableGenerator().With(printersinternal.AddHandlers)
})

// sharePrinters replaces the printers of a store by those of the process. A store with
// other printers keeps its own.
func sharePrinters(store *registry.Store) {
	convertor, ok := store.TableConvertor.(printerstorage.TableConvertor)
	if !ok {
		return
	}
	if own, ok := convertor.TableGenerator.(*printers.HumanReadableGenerator); ok && number(own) == number(allPrinters()) {
		store.TableConvertor = printerstorage.TableConvertor{TableGenerator: allPrinters()}
	}
}

// number returns the number of kinds that g prints, or 0 if upstream keeps them
// elsewhere.
func number(g *printers.HumanReadableGenerator) int {
	handlers := reflect.ValueOf(g).Elem().FieldByName("handlerMap")
	if handlers.Kind() != reflect.Map {
		return 0
	}
	return handlers.Len()
}
