package apiserver

import (
	"testing"
	"testing/synctest"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"
)

// TestOnlyAdmissionCompiles: policies are stale from when admission was told of one
// until it has listed the bindings. Other handlers may be told after that.
func TestOnlyAdmissionCompiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := cachetesting.NewFakeControllerSource()
		defer source.Shutdown()
		inner := cache.NewSharedIndexInformer(source, &admissionregistrationv1.ValidatingAdmissionPolicy{}, 0, cache.Indexers{})
		kind := &policyKind{}
		told := &toldInformer{
			SharedIndexInformer: inner, indexer: compilerIndexer{inner.GetIndexer(), kind}, policies: kind,
			handlers: map[cache.ResourceEventHandlerRegistration]*toldHandler{},
		}
		if _, err := told.AddEventHandler(cache.ResourceEventHandlerFuncs{}); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		defer func() { close(stop); synctest.Wait() }()
		go inner.Run(stop)
		source.Add(&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "one"}})
		synctest.Wait()
		if kind.stale.Load() {
			t.Error("policies are stale because another handler was told")
		}
		if _, err := (promptInformer{told, t.Context()}).AddEventHandler(cache.ResourceEventHandlerFuncs{}); err != nil {
			t.Fatal(err)
		}
		source.Add(&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "two"}})
		synctest.Wait()
		if !kind.stale.Load() {
			t.Error("policies are not stale though admission was told")
		}
		if told.GetIndexer().List(); kind.stale.Load() {
			t.Error("policies are stale though admission has listed the bindings")
		}
	})
}
