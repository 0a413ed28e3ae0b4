// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/fake"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWithoutCreateDelay verifies that upstream does not delay the first creations of a
// custom resource, and that the delay ends where servers share an etcd.
func TestWithoutCreateDelay(t *testing.T) {
	for name, established := range map[string]metav1.Time{
		"now":                         metav1.Now(),
		"before a clock was set back": metav1.NewTime(time.Now().AddDate(1, 0, 0)),
	} {
		t.Run(name, func(t *testing.T) { testCreateDelay(t, established, false, createDelay) })
		t.Run(name+", shared", func(t *testing.T) { testCreateDelay(t, established, true, 0) })
	}
}

func testCreateDelay(t *testing.T, at metav1.Time, shared bool, minAge time.Duration) {
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}}
	crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{
		Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue, LastTransitionTime: at,
	}}
	factory := informers.NewSharedInformerFactory(fake.NewClientset(crd), 0)
	if err := WithoutCreateDelay(factory, shared); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	defer factory.Shutdown()
	defer close(stop)
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	known, err := factory.Apiextensions().V1().CustomResourceDefinitions().Lister().Get(crd.Name)
	if err != nil {
		t.Fatal(err)
	}
	established := apihelpers.FindCRDCondition(known, apiextensionsv1.Established)
	if age := time.Since(established.LastTransitionTime.Time); age < minAge {
		t.Errorf("established %v ago, want at least %v", age, minAge)
	}
}
