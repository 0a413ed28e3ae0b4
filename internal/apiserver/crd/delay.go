// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
)

// createDelay is how long upstream delays the creation of a custom resource after its CRD
// was established: another API server might not serve it yet.
const createDelay = 2 * time.Second

// WithoutCreateDelay changes CRDs in the informer of factory so that upstream does not
// delay creations: their Established condition is older than the delay. The server is the
// only one, as MasterCount says to upstream's establishing controller, which has a delay
// for the same reason.
//
// If shared, there may be other API servers and the delay stays. If the clock has been
// set back, a time in the future counts as now, so that the delay ends.
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
			// The age is negative if the clock has been set back.
			if age := time.Since(condition.LastTransitionTime.Time); condition.Type == apiextensionsv1.Established && age < least {
				condition.LastTransitionTime.Time = condition.LastTransitionTime.Add(min(age, 0) - least)
			}
		}
		return object, nil
	})
}
