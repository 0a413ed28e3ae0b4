package apiserver

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// countedAdmission counts the calls of the admission chain. A request that is
// cut leaves its call behind, which may wait for the workers of a plugin: Stop
// ends those when the last call has returned.
type countedAdmission struct {
	admission.Interface
	calls   *lifecycle.Group
	current *currentAdmission
}

var (
	_ admission.MutationInterface   = countedAdmission{}
	_ admission.ValidationInterface = countedAdmission{}
)

func (c countedAdmission) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if chain, ok := c.Interface.(admission.MutationInterface); ok {
		return c.count(func() error {
			if err := checkCertificateRequest(a); err != nil {
				return err
			}
			c.current.wait(ctx, a)
			return chain.Admit(ctx, a, o)
		})
	}
	return nil
}

func (c countedAdmission) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if chain, ok := c.Interface.(admission.ValidationInterface); ok {
		return c.count(func() error {
			c.current.wait(ctx, a)
			return chain.Validate(ctx, a, o)
		})
	}
	return nil
}

func (c countedAdmission) count(call func() error) error {
	end, ok := c.calls.Begin()
	if !ok {
		return apierrors.NewServiceUnavailable("the API server is stopped")
	}
	defer end()
	return call()
}
