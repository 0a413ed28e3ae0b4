// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package bootstrap writes the objects that a new cluster begins with through storage,
// before the API server serves: system namespaces, RBAC policy, priority classes, flow
// control, the default ServiceCIDR, and the APIServices of the built-in groups.
//
// Upstream's start hooks and controllers create them by requests in the first seconds of
// a cluster: the hooks wait a second between tries, and readiness would wait for them.
// Defaults, strategies and validation are upstream's.
package bootstrap

import (
	"context"
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apistorage "k8s.io/apiserver/pkg/storage"
	openapicommon "k8s.io/kube-openapi/pkg/common"

	"github.com/kubembed/kubembed/internal/apiserver/servicecidr"
	"github.com/kubembed/kubembed/internal/storage"
)

// SystemNamespaces exist when the server is ready.
var SystemNamespaces = []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, metav1.NamespaceDefault}

// writers is the number of objects that are written at the same time. Concurrent writers
// share the fsyncs of etcd.
const writers = 16

// Config is the configuration of Seed. All fields are required.
type Config struct {
	// Backend has the storage of all built-in resources.
	Backend *storage.Backend
	// Services are the ranges of Service cluster IPs.
	Services servicecidr.Ranges
	// Controllers adds the objects that upstream's controllers create in each namespace,
	// and the rules of aggregated ClusterRoles.
	Controllers bool
	// CABundle is for the ConfigMaps kube-root-ca.crt.
	CABundle []byte
	// Serves reports whether the server serves a built-in group version.
	Serves func(schema.GroupVersion) bool
	// OpenAPI has the schemas of the built-in types.
	OpenAPI *openapicommon.OpenAPIV3Config
	Logger  *zap.Logger
}

// Seed writes the missing bootstrap objects. It reports whether no object existed.
//
// If any ClusterRole or ClusterRoleBinding exists, it writes no RBAC object, and
// rbacpolicy.Reconcile has to create the missing ones, some as copies of existing ones.
// An operator may have deleted them, an older release may not have had them, and a start
// that was killed may not have written them.
func Seed(ctx context.Context, c Config) (fresh bool, err error) {
	var existing existingObjects
	reads, readCtx := errgroup.WithContext(ctx)
	reads.Go(func() error {
		return servicecidr.CheckStored(readCtx, c.Backend, c.Services, ServerManager, c.Logger)
	})
	reads.Go(func() (err error) {
		existing, err = findExisting(readCtx, c.Backend, c.Controllers)
		return err
	})
	if err := reads.Wait(); err != nil {
		return false, err
	}
	var anyExists atomic.Bool
	anyExists.Store(existing.rbac)
	writes, writeCtx := errgroup.WithContext(ctx)
	writes.SetLimit(writers)
	for _, o := range c.objects() {
		if existing.excludes(o) {
			continue
		}
		store, err := c.Backend.Store(o.kind.resource)
		if err != nil {
			continue // switched off by Config.RuntimeConfig
		}
		writes.Go(func() error {
			err := o.create(writeCtx, store)
			if apistorage.IsExist(err) || apierrors.IsAlreadyExists(err) {
				anyExists.Store(true)
				err = c.repair(writeCtx, store, o)
			}
			switch {
			case apierrors.IsNotFound(err), apistorage.IsNotFound(err): // deleted by another server
				return nil
			case err != nil:
				return fmt.Errorf("apiserver: bootstrap %s: %w", o.kind.resource, err)
			}
			return nil
		})
	}
	err = writes.Wait()
	fresh = !anyExists.Load()
	if err == nil && !fresh {
		err = servicecidr.ReleaseKubernetesAddress(ctx, c.Backend, c.Services, c.Logger)
	}
	return fresh, err
}
