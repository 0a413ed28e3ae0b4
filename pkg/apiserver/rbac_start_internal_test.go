// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubembed/kubembed/internal/apiserver/rbacpolicy"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// TestRolesAreCompletedLater: the check of the bootstrap roles fails until they are
// complete.
func TestRolesAreCompletedLater(t *testing.T) {
	retry := reconcileRetry
	reconcileRetry.Duration = time.Millisecond
	defer func() { reconcileRetry = retry }()
	client := fake.NewClientset()
	refused := make(chan struct{})
	client.PrependReactor("create", "clusterroles", func(clienttesting.Action) (bool, runtime.Object, error) {
		select {
		case <-refused:
			return false, nil, nil
		default:
			close(refused)
			return true, nil, errors.New("a webhook refuses it")
		}
	})
	enabled := serverstorage.NewResourceConfig()
	enabled.EnableVersions(rbacv1.SchemeGroupVersion)
	s := &Server{environment: environment{state: &state{}, config: Config{Logger: zap.NewNop()}}, serverConfig: &genericapiserver.Config{MergedResourceConfig: enabled}}
	s.ctx, s.cancel = context.WithCancel(t.Context())
	defer s.cancel()
	if err := rbacpolicy.Reconcile(s.ctx, client, rbacpolicy.New()); err == nil {
		t.Fatal("the policy is complete although a role was refused")
	}
	go s.reconcileLater(client)
	if err := lifecycle.Poll(t.Context(), s.boot.Roles.Load); err != nil {
		t.Fatal(err)
	}
}
