package apiserver

import (
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/fake"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestNewDefinitionsAreNotNew: upstream would let creations sleep.
func TestNewDefinitionsAreNotNew(t *testing.T) {
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}}
	crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{
		Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue, LastTransitionTime: metav1.Now(),
	}}
	factory := informers.NewSharedInformerFactory(fake.NewClientset(crd), 0)
	if err := createWithoutDelay(factory); err != nil {
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
	if age := time.Since(established.LastTransitionTime.Time); age < createDelay {
		t.Errorf("established %v ago", age)
	}
}
