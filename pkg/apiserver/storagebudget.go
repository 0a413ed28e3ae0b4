package apiserver

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// What one identity with few rights may store, in bytes: at once, and in an hour.
// Requests for certificates are kept for up to a day.
const (
	// A request to join is charged with 8 kB: 4,000 nodes may join at once.
	bootstrapBurst, bootstrapHour = 32 << 20, 8 << 20
	// A kubelet creates little but events, which are kept for an hour.
	nodeBurst, nodeHour = 32 << 20, 32 << 20
	// storedCopies is how often a new object is written: a request for a
	// certificate once more when it is approved, and when it is signed.
	storedCopies   = 3
	storedOverhead = 4 << 10
)

// The part of etcd's quota in use from which on who may not write.
const (
	fullForBootstrap = 0.7
	fullForNodes     = 0.8
	fullForOthers    = 0.9
)

// storageBudget keeps clients from filling etcd: when its quota is reached it
// refuses the administrator's writes too.
type storageBudget struct {
	used func() (inUse, quota int64) // nil if nobody knows

	mu      sync.Mutex
	buckets map[string]*rate.Limiter // by user
}

func newStorageBudget(used func() (inUse, quota int64)) *storageBudget {
	return &storageBudget{used: used, buckets: map[string]*rate.Limiter{}}
}

// admit refuses a write that is over the requester's budget, or for which the
// requester's part of etcd is full.
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
	now := time.Now()
	reservation := s.bucket(who, now).ReserveN(now, storedCopies*bytes+storedOverhead)
	delay := reservation.DelayFrom(now)
	if reservation.OK() && delay == 0 {
		return nil
	}
	reservation.CancelAt(now)
	return apierrors.NewTooManyRequests(fmt.Sprintf("user %q has created more than its share of objects: it may store %d MiB an hour", who.name, who.hour()>>20),
		int(min(60, math.Ceil(delay.Seconds()))))
}

// stored reports whether anything is stored of a write.
func stored(info *request.RequestInfo) bool {
	switch info.APIGroup {
	case authenticationv1.GroupName, authorizationv1.GroupName:
		return false
	}
	return info.Subresource != "token"
}

// reserved keeps the end of etcd's quota for administrators, and what makes room.
func (s *storageBudget) reserved(who requester, info *request.RequestInfo, method string) error {
	if s.used == nil {
		return nil
	}
	full := fullForOthers
	switch {
	case who.bootstrap:
		full = fullForBootstrap
	case who.node:
		// A node that cannot say that it is alive loses its pods.
		if method != http.MethodPost || info.APIGroup == coordinationv1.GroupName {
			return nil
		}
		full = fullForNodes
	}
	inUse, quota := s.used()
	if quota <= 0 || float64(inUse) < full*float64(quota) {
		return nil
	}
	return apierrors.NewGenericServerResponse(http.StatusInsufficientStorage, info.Verb, schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}, info.Name,
		fmt.Sprintf("etcd uses %d of %d bytes, and the rest is kept for administrators: delete objects, or raise Config.Etcd.QuotaBytes", inUse, quota), 0, true)
}

func (r requester) hour() int {
	if r.bootstrap {
		return bootstrapHour
	}
	return nodeHour
}

// maxBuckets is the number of buckets from which on full ones are dropped.
const maxBuckets = 4096

func (s *storageBudget) bucket(who requester, now time.Time) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.buckets[who.name]; ok {
		return b
	}
	if len(s.buckets) >= maxBuckets {
		for name, b := range s.buckets {
			if b.TokensAt(now) >= float64(b.Burst()) {
				delete(s.buckets, name)
			}
		}
	}
	burst := nodeBurst
	if who.bootstrap {
		burst = bootstrapBurst
	}
	b := rate.NewLimiter(rate.Limit(float64(who.hour())/time.Hour.Seconds()), burst)
	s.buckets[who.name] = b
	return b
}
