// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
	printerstorage "k8s.io/kubernetes/pkg/printers/storage"
)

// TestSharePrinters: stores with upstream's printers share one set, which prints. Others
// keep theirs.
func TestSharePrinters(t *testing.T) {
	store := func(add ...func(printers.PrintHandler)) *registry.Store {
		s := &registry.Store{TableConvertor: printerstorage.TableConvertor{TableGenerator: printers.NewTableGenerator().With(add...)}}
		decorate(subresource{s})
		return s
	}
	a, b, other := store(printersinternal.AddHandlers), store(printersinternal.AddHandlers), store()
	if a.TableConvertor != b.TableConvertor {
		t.Error("two stores with the same printers do not share them")
	}
	if other.TableConvertor == a.TableConvertor {
		t.Error("a store has lost its own printers")
	}
	if n := number(allPrinters()); n < 50 {
		t.Errorf("upstream has printers of %d kinds: does it keep them elsewhere?", n)
	}
	table, err := a.TableConvertor.ConvertToTable(t.Context(), &core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, nil)
	if err != nil || len(table.Rows) != 1 || table.Rows[0].Cells[0] != "web" {
		t.Errorf("got the table %v and error %v, want a row for the pod", table, err)
	}
}
