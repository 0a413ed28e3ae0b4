package crd

import (
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
)

// createDelay is how long upstream lets the creation of a custom resource sleep
// while its definition has not been established for as long: a second API server
// might not serve it yet.
const createDelay = 2 * time.Second

// WithoutCreateDelay makes definitions look as if they had been established that
// long ago. There is no other API server, as MasterCount says to upstream's
// establishing controller, which has a delay for the same reason. Where there may be
// others the delay stays, but ends: when the clock was set back, a CRD whose
// time of establishment is in the future counts as established now.
func WithoutCreateDelay(factory informers.SharedInformerFactory, shared bool) error {
	least := createDelay
	if shared {
		least = 0
	}
	return factory.Apiextensions().V1().CustomResourceDefinitions().Informer().SetTransform(func(object any) (any, error) {
		crd, ok := object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			return object, nil
		}
		for i := range crd.Status.Conditions {
			condition := &crd.Status.Conditions[i]
			// In the future, if the clock has been set back.
			if age := time.Since(condition.LastTransitionTime.Time); condition.Type == apiextensionsv1.Established && age < least {
				condition.LastTransitionTime.Time = condition.LastTransitionTime.Add(min(age, 0) - least)
			}
		}
		return object, nil
	})
}
