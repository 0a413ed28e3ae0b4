package apiserver

import (
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
)

// createDelay is how long upstream lets the creation of a custom resource sleep
// while its definition has not been established for as long: a second API server
// might not serve it yet.
const createDelay = 2 * time.Second

// createWithoutDelay makes definitions look as if they had been established that
// long ago. There is no other API server, as upstream's establishing controller,
// which has a delay for the same reason, is told by MasterCount.
func createWithoutDelay(factory informers.SharedInformerFactory) error {
	return factory.Apiextensions().V1().CustomResourceDefinitions().Informer().SetTransform(func(object any) (any, error) {
		crd, ok := object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			return object, nil
		}
		for i := range crd.Status.Conditions {
			condition := &crd.Status.Conditions[i]
			if condition.Type == apiextensionsv1.Established && time.Since(condition.LastTransitionTime.Time) < createDelay {
				condition.LastTransitionTime.Time = condition.LastTransitionTime.Add(-createDelay)
			}
		}
		return object, nil
	})
}
