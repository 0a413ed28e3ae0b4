// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"net/http"

	"k8s.io/apiserver/pkg/server/healthz"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// Contain returns a check of the host that fails if it panics or does not return in time.
func Contain(check healthz.HealthChecker, code hostcall.Code) healthz.HealthChecker {
	one := contained{check, code}
	if group, ok := check.(healthz.GroupedHealthChecker); ok {
		return containedGroup{one, group}
	}
	return one
}

type contained struct {
	healthz.HealthChecker
	code hostcall.Code
}

// Check implements healthz.HealthChecker.
func (c contained) Check(r *http.Request) error {
	err, failure := hostcall.Within(r.Context(), c.code, func(ctx context.Context) error {
		return c.HealthChecker.Check(r.WithContext(ctx))
	})
	if failure != nil {
		return failure
	}
	return err
}

type containedGroup struct {
	contained
	group healthz.GroupedHealthChecker
}

// GroupName implements healthz.GroupedHealthChecker.
func (c containedGroup) GroupName() string { return c.group.GroupName() }
