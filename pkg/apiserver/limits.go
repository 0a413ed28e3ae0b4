// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/apiserver/limits"
	"github.com/kubembed/kubembed/internal/apiserver/overrides"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/storage"
)

// Limits bounds requests, and configures caches and compactions. Zero values are
// kube-apiserver's defaults. The smaller limits for some resources and clients stay, see
// "Limits of requests" in the package documentation. Upstream's limit for the bytes that
// "copy" operations of a JSON patch add is one for the process, and cannot be changed.
type Limits struct {
	// MaxRequestBodyBytes bounds the body of a request that writes. Larger bodies are
	// refused with status 413. It is from 128 KiB to 10 MiB, the largest request that
	// etcd recommends. An object may take more room in etcd than in the request, or less.
	// With more than 3 MiB, New fails if etcd does not take requests of this size; a
	// member of package controlplane does. Above 3 MiB, the limits of the memory of
	// decoded bodies grow in proportion: at 10 MiB all requests together may take
	// 640 MiB instead of 192 MiB. If zero, 3 MiB, upstream's.
	MaxRequestBodyBytes int64
	// MaxJSONPatchOperations bounds the operations of a JSON patch. Longer patches are
	// refused with status 413. If zero, 10,000, which is also the maximum.
	MaxJSONPatchOperations int
	// DisablePriorityAndFairness switches API Priority and Fairness off, like
	// --enable-priority-and-fairness=false: the server then only counts the requests in
	// flight, and requests above MaxRequestsInFlight or MaxMutatingRequestsInFlight get
	// status 429 without a queue. FlowSchemas and PriorityLevelConfigurations are still
	// served, and have no effect. If false, they have.
	DisablePriorityAndFairness bool
	// MinRequestTimeout is the lower bound of the random duration after which a watch
	// without a timeout ends, like --min-request-timeout. The upper bound is twice as
	// much. It is in whole seconds. If zero, 30 minutes.
	MinRequestTimeout time.Duration
	// DeleteCollectionWorkers is the number of concurrent deletions of a request that
	// deletes a collection, like --delete-collection-workers. If zero, 1.
	DeleteCollectionWorkers int
	// WatchCacheSizes switches watch caches of built-in resources off and on, like
	// --watch-cache-sizes: zero is no watch cache, and all other values are a watch
	// cache, which upstream sizes by itself. The keys are like "pods" and
	// "deployments.apps". Without a watch cache each list and each watch reads etcd. If
	// empty, all resources but Events have one.
	WatchCacheSizes map[string]int
	// DisableWatchCache switches the watch caches of all resources off, also of custom
	// resources, like --watch-cache=false. If false, they are on.
	DisableWatchCache bool
	// CompactionInterval is the time between two compactions of etcd, and how long etcd
	// at least keeps old versions, like --etcd-compaction-interval. Lists and watches of
	// older versions get 410 Gone. At least a second. Servers of one etcd should have the
	// same. If zero, five minutes.
	CompactionInterval time.Duration
	// DisableCompaction leaves compactions to another process, such as an etcd with
	// --auto-compaction-retention, like --etcd-compaction-interval=0. Without any, etcd
	// fills up. If false, the server compacts.
	DisableCompaction bool
}

// Clone returns a deep copy.
func (l Limits) Clone() Limits {
	l.WatchCacheSizes = maps.Clone(l.WatchCacheSizes)
	return l
}

func (l Limits) validate(at *field.Path) (errs field.ErrorList) {
	if n := l.MaxRequestBodyBytes; n != 0 && (n < limits.MinMaxBody || n > limits.MaxMaxBody) {
		errs = append(errs, field.Invalid(at.Child("MaxRequestBodyBytes"), n,
			fmt.Sprintf("must be from %d to %d, or zero, which is %d", limits.MinMaxBody, limits.MaxMaxBody, limits.DefaultMaxBody)))
	}
	if n := l.MaxJSONPatchOperations; n < 0 || n > limits.MaxPatchOperations {
		errs = append(errs, field.Invalid(at.Child("MaxJSONPatchOperations"), n, fmt.Sprintf("must be from 1 to %d, or zero, which is the maximum", limits.MaxPatchOperations)))
	}
	if d := l.MinRequestTimeout; d < 0 || d%time.Second != 0 {
		errs = append(errs, field.Invalid(at.Child("MinRequestTimeout"), d.String(), "must be in whole seconds, and not negative; zero is 30 minutes"))
	}
	if d := l.CompactionInterval; d != 0 && d < time.Second {
		errs = append(errs, field.Invalid(at.Child("CompactionInterval"), d.String(), "must be at least a second, or zero, which is five minutes"))
	}
	if l.DisableCompaction && l.CompactionInterval != 0 {
		errs = append(errs, fieldpath.Detail(field.Forbidden(at.Child("DisableCompaction"), ""), "%s is set too: take out one of them", fieldpath.NameOf(at.Child("CompactionInterval"))))
	}
	errs = append(errs, notNegative(at.Child("DeleteCollectionWorkers"), l.DeleteCollectionWorkers)...)
	for _, resource := range slices.Sorted(maps.Keys(l.WatchCacheSizes)) {
		at := at.Child("WatchCacheSizes").Key(resource)
		if size := l.WatchCacheSizes[resource]; size < 0 {
			errs = append(errs, field.Invalid(at, size, "must not be negative; zero is no watch cache, and without an entry there is one"))
		}
		if !storage.Builtin(schema.ParseGroupResource(resource)) {
			errs = append(errs, field.Invalid(at, resource, unknownResource))
		}
	}
	return errs
}

// unknownResource is the detail of errors about names of resources.
const unknownResource = `is no built-in resource: write its plural and its group, like "pods" or "deployments.apps"`

// requestLimits returns the limits of requests.
func (c Config) requestLimits() limits.Options {
	o := limits.Options{MaxBody: c.Limits.MaxRequestBodyBytes, MaxPatchOperations: c.Limits.MaxJSONPatchOperations, Used: c.StorageUsed}
	for _, override := range c.EtcdOverrides {
		o.Elsewhere = append(o.Elsewhere, overrides.Parse(override.Resources)...)
	}
	return o
}

// maxBody returns the size of the largest body.
func (l Limits) maxBody() int64 {
	if l.MaxRequestBodyBytes == 0 {
		return limits.DefaultMaxBody
	}
	return l.MaxRequestBodyBytes
}

// storage returns the options of the storage.
func (l Limits) storage() storage.Options {
	o := storage.Options{
		CompactionInterval: l.CompactionInterval, DisableCompaction: l.DisableCompaction,
		DisableWatchCache: l.DisableWatchCache, DeleteCollectionWorkers: l.DeleteCollectionWorkers,
		WatchCacheSizes: map[schema.GroupResource]int{},
	}
	for resource, size := range l.WatchCacheSizes {
		o.WatchCacheSizes[schema.ParseGroupResource(resource)] = size
	}
	return o
}

// etcdAnswerTimeout bounds the checks of etcd in New.
const etcdAnswerTimeout = 10 * time.Second

// checkRequestSize refuses a limit for bodies, above the default, that etcd does not
// take.
func checkRequestSize(ctx context.Context, backend *storage.Backend, l Limits) error {
	if l.maxBody() <= limits.DefaultMaxBody {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, etcdAnswerTimeout)
	defer cancel()
	for _, client := range backend.Clients() {
		if err := backend.CheckRequestSize(ctx, client, l.maxBody()); err != nil {
			return fieldpath.New("apiserver", "Config.Limits.MaxRequestBodyBytes",
				"etcd does not take requests of %d bytes: %w: lower it, or raise --max-request-bytes of etcd and MaxCallSendMsgSize of its client", l.maxBody(), err)
		}
	}
	return nil
}

// addFlags adds kube-apiserver's flags for the limits that are set.
func (l Limits) addFlags(flags map[string]string) {
	if l.MinRequestTimeout > 0 {
		flags["min-request-timeout"] = strconv.Itoa(int(l.MinRequestTimeout / time.Second))
	}
	if l.DeleteCollectionWorkers > 0 {
		flags["delete-collection-workers"] = strconv.Itoa(l.DeleteCollectionWorkers)
	}
	if l.CompactionInterval > 0 || l.DisableCompaction {
		flags["etcd-compaction-interval"] = l.CompactionInterval.String()
	}
	if l.DisableWatchCache {
		flags["watch-cache"] = "false"
	}
	if len(l.WatchCacheSizes) > 0 {
		var sizes []string
		for _, resource := range slices.Sorted(maps.Keys(l.WatchCacheSizes)) {
			sizes = append(sizes, fmt.Sprintf("%s#%d", resource, l.WatchCacheSizes[resource]))
		}
		flags["watch-cache-sizes"] = list(sizes)
	}
}
