// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// The bytes that one identity with few permissions may store, at once and in an hour.
// Requests for certificates expire after up to a day.
const (
	// A request to join costs 8 kB: 4,000 nodes can join at once.
	bootstrapBurst, bootstrapHour = 32 << 20, 8 << 20
	// A kubelet mostly creates events, which expire after an hour, and updates its Node
	// and its pods: etcd keeps every version until a compaction, five minutes later. A
	// node that replaces 110 pods every minute takes 160 MB an hour.
	nodeBurst, nodeHour = 48 << 20, 512 << 20
	// Leases have a separate budget: a node that has used up its share stays alive.
	// Renewals take half a megabyte an hour.
	leaseBurst, leaseHour = 4 << 20, 8 << 20
	// updateOverhead is the cost of an update in addition to the object.
	updateOverhead = 1 << 10
	// storedCopies is the number of writes of a new object: a request for a certificate
	// is written again when it is approved, and when it is signed.
	storedCopies   = 3
	storedOverhead = 4 << 10
)

// The parts of etcd's quota at which writes of these clients are rejected.
const (
	fullForBootstrap = 0.7
	fullForNodes     = 0.8
	fullForOthers    = 0.9
)

// storageBudget prevents clients from filling etcd: at its quota etcd also rejects writes
// of administrators.
type storageBudget struct {
	used      func() (inUse, quota int64) // nil if unknown
	elsewhere []schema.GroupResource

	mu      sync.Mutex
	buckets map[share]*rate.Limiter
}

func newStorageBudget(o Options) *storageBudget {
	return &storageBudget{used: o.Used, elsewhere: o.Elsewhere, buckets: map[share]*rate.Limiter{}}
}

// admit rejects a write that exceeds the requester's budget, or for which the requester's
// part of etcd is full.
func (s *storageBudget) admit(who requester, info *request.RequestInfo, method string, bytes int) error {
	if who.privileged || method == http.MethodDelete || !stored(info) {
		return nil
	}
	if err := s.reserved(who, info, method); err != nil {
		return err
	}
	if method != http.MethodPost || !who.limited() || info.Subresource != "" {
		return nil
	}
	return s.take(s.share(who, info), storedCopies*bytes+storedOverhead)
}

// charge returns a function to call with the size of each object that an update by a node
// stores, or nil. admit charges creations by the size of their bodies.
func (s *storageBudget) charge(who requester, info *request.RequestInfo, method string) func(bytes int) error {
	if !who.limited() || method == http.MethodPost && info.Subresource == "" {
		return nil
	}
	return func(bytes int) error { return s.take(s.share(who, info), bytes+updateOverhead) }
}

func (s *storageBudget) take(from share, bytes int) error {
	now := time.Now()
	reservation := s.bucket(from, now).ReserveN(now, bytes)
	delay := reservation.DelayFrom(now)
	if reservation.OK() && delay == 0 {
		return nil
	}
	reservation.CancelAt(now)
	return apierrors.NewTooManyRequests(fmt.Sprintf("user %q has stored more than its share: it may store %d MiB an hour", from.name, from.hour>>20),
		int(min(60, math.Ceil(delay.Seconds()))))
}

// share is the budget of a user.
type share struct {
	name        string
	leases      bool
	elsewhere   bool // in other etcds, which have a budget of the same size
	burst, hour int
}

func (s *storageBudget) share(r requester, info *request.RequestInfo) share {
	of := share{name: r.name, elsewhere: s.isElsewhere(info)}
	switch {
	case r.bootstrap:
		of.burst, of.hour = bootstrapBurst, bootstrapHour
	case info.APIGroup == coordinationv1.GroupName:
		of.leases, of.burst, of.hour = true, leaseBurst, leaseHour
	default:
		of.burst, of.hour = nodeBurst, nodeHour
	}
	return of
}

func (s *storageBudget) isElsewhere(info *request.RequestInfo) bool {
	return slices.Contains(s.elsewhere, schema.GroupResource{Group: info.APIGroup, Resource: info.Resource})
}

// stored reports whether a write stores an object.
func stored(info *request.RequestInfo) bool {
	switch info.APIGroup {
	case authenticationv1.GroupName, authorizationv1.GroupName:
		return false
	}
	return info.Subresource != "token"
}

// reserved reserves the end of etcd's quota for administrators.
func (s *storageBudget) reserved(who requester, info *request.RequestInfo, method string) error {
	if s.used == nil || s.isElsewhere(info) {
		return nil
	}
	full := fullForOthers
	switch {
	case who.bootstrap:
		full = fullForBootstrap
	case who.node:
		// A node that cannot renew its Lease loses its pods.
		if method != http.MethodPost || info.APIGroup == coordinationv1.GroupName {
			return nil
		}
		full = fullForNodes
	}
	inUse, quota, err := s.usage()
	if err != nil {
		return err
	}
	if quota <= 0 || float64(inUse) < full*float64(quota) {
		return nil
	}
	return apierrors.NewGenericServerResponse(http.StatusInsufficientStorage, info.Verb, schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}, info.Name,
		fmt.Sprintf("etcd uses %d of %d bytes, and the rest is kept for administrators: delete objects, or raise controlplane.Config.Etcd.QuotaBytes", inUse, quota), 0, true)
}

// usage calls code of the host.
func (s *storageBudget) usage() (inUse, quota int64, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			utilruntime.HandleError(fmt.Errorf("Config.StorageUsed panicked: %v\n%s", panicked, debug.Stack()))
			err = apierrors.NewInternalError(errors.New("Config.StorageUsed panicked: the log of the server has the reason"))
		}
	}()
	inUse, quota = s.used()
	return inUse, quota, nil
}

// maxBuckets is the number of buckets at which full ones are removed.
const maxBuckets = 4096

func (s *storageBudget) bucket(of share, now time.Time) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.buckets[of]; ok {
		return b
	}
	if len(s.buckets) >= maxBuckets {
		for of, b := range s.buckets {
			if b.TokensAt(now) >= float64(b.Burst()) {
				delete(s.buckets, of)
			}
		}
	}
	b := rate.NewLimiter(rate.Limit(float64(of.hour)/time.Hour.Seconds()), of.burst)
	s.buckets[of] = b
	return b
}
