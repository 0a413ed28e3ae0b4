// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package encryption_test

import (
	"context"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/kubembed/kubembed/internal/apiserver/encryption"
)

type panicking struct{}

func (panicking) TransformerForResource(r schema.GroupResource) value.Transformer {
	if r.Resource == "pods" {
		return nil
	}
	return panicking{}
}

func (panicking) TransformFromStorage(context.Context, []byte, value.Context) ([]byte, bool, error) {
	panic("mine")
}

func (panicking) TransformToStorage(context.Context, []byte, value.Context) ([]byte, error) {
	panic("mine")
}

// TestHostPanics: panics of the host's transformers are errors.
func TestHostPanics(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	host := encryption.Host{Field: "Config.Transformers", Transformers: panicking{}, Logger: zap.New(core)}
	secrets := host.TransformerForResource(schema.GroupResource{Resource: "secrets"})
	_, _, from := secrets.TransformFromStorage(t.Context(), nil, nil)
	_, to := secrets.TransformToStorage(t.Context(), nil, nil)
	for _, err := range []error{from, to} {
		if err == nil || err.Error() != "Config.Transformers: the transformer of secrets panicked: mine" {
			t.Errorf("got %v", err)
		}
	}
	if logs.FilterMessage("a transformer of the host's panicked").Len() != 2 {
		t.Errorf("got logs %v", logs.All())
	}
	if got := host.TransformerForResource(schema.GroupResource{Resource: "pods"}); got != nil {
		t.Errorf("plaintext: got a %T", got)
	}
}
