package controlplanetest

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newFor is how long a definition is new: the API server lets each creation of a
// custom resource sleep two seconds meanwhile, for other API servers that might
// not know the definition yet (justCreated in apiextensions-apiserver's
// customresource_handler.go). Here is no other. Times are stored in full seconds.
const newFor = 3 * time.Second

// backdate makes an established definition old enough.
func (c crdClient) backdate(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, error) {
	for {
		established := apihelpers.FindCRDCondition(crd, apiextensionsv1.Established)
		if established == nil || time.Since(established.LastTransitionTime.Time) >= newFor {
			return crd, nil
		}
		crd = crd.DeepCopy()
		established = apihelpers.FindCRDCondition(crd, apiextensionsv1.Established)
		established.LastTransitionTime = metav1.NewTime(time.Now().Add(-newFor))
		updated, err := c.UpdateStatus(ctx, crd, metav1.UpdateOptions{})
		if err == nil {
			return updated, nil
		}
		if !apierrors.IsConflict(err) {
			return nil, fmt.Errorf("status: %w", err)
		}
		if crd, err = c.Get(ctx, crd.Name, metav1.GetOptions{}); err != nil {
			return nil, err
		}
	}
}
