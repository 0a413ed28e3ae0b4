// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/apiserver/overrides"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/storage"
)

// EtcdOverride stores resources in an etcd of their own, like kube-apiserver's
// --etcd-servers-overrides. Objects that are already stored elsewhere are not moved: the
// server does not see them any more. StorageUsed says nothing about this etcd, and
// reserves nothing of it: its checks in /readyz are etcd-override-N and
// etcd-override-readiness-N. Nodes may write as much to all other etcds together as to
// that of Config.Client, and neither counts for the other.
type EtcdOverride struct {
	// Resources are built-in resources, like "events" and "leases.coordination.k8s.io".
	// Both groups of Events are one resource. Authorization, admission and the server
	// itself need some resources, such as namespaces and pods. They must stay in the etcd
	// of Config.Client. Required.
	Resources []string
	// Client is the client of the other etcd. Objects have Config.Prefix there, too. New
	// fails if the etcd does not answer within ten seconds. The caller owns the client,
	// and must close it after Stop. Required.
	Client *clientv3.Client
}

func validateOverrides(at *field.Path, all []EtcdOverride) (errs field.ErrorList) {
	var validator overrides.Validator
	for i, o := range all {
		errs = append(errs, validator.Validate(at.Index(i).Child("Resources"), o.Resources)...)
		if o.Client == nil {
			errs = append(errs, field.Required(at.Index(i).Child("Client"), "the client of the other etcd"))
		}
	}
	return errs
}

// overrideEtcd connects the backend to the other etcds.
func overrideEtcd(ctx context.Context, backend *storage.Backend, all []EtcdOverride) error {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswerTimeout)
	defer cancel()
	for i, o := range all {
		backend.Override(o.Client, overrides.Parse(o.Resources))
		if err := backend.Answers(ctx, backend.Overrides()[i]); err != nil {
			at := field.NewPath("Config", "EtcdOverrides").Index(i).Child("Client")
			return fieldpath.New("apiserver", at.String(), "the etcd of %q does not answer: %w", o.Resources, err)
		}
	}
	return nil
}

// etcdEndpoints returns the endpoints of all etcds.
func (c Config) etcdEndpoints() []string {
	endpoints := c.Client.Endpoints()
	for _, o := range c.EtcdOverrides {
		endpoints = append(endpoints, o.Client.Endpoints()...)
	}
	return endpoints
}

// overrideFlags returns the values of kube-apiserver's --etcd-servers-overrides.
func overrideFlags(all []EtcdOverride) (values []string) {
	for _, o := range all {
		for _, name := range o.Resources {
			resource := schema.ParseGroupResource(name)
			values = append(values, resource.Group+"/"+resource.Resource+"#"+strings.Join(o.Client.Endpoints(), ";"))
		}
	}
	return values
}
