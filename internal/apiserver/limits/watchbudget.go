// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// The number of open watches of an identity with few permissions. Each takes about 120
// kB, and priority and fairness only counts their start. A joining machine watches its
// request for a second, a kubelet each Secret and ConfigMap of its pods.
const (
	bootstrapWatches = 1000
	nodeWatches      = 3000
)

// watchBudget prevents clients from using up the memory by watches. The zero value is
// ready.
type watchBudget struct {
	mu   sync.Mutex
	open map[string]int // by user
}

// begin counts a watch until the caller calls end.
func (w *watchBudget) begin(who requester) (end func(), err error) {
	if !who.limited() {
		return func() {}, nil
	}
	limit := nodeWatches
	if who.bootstrap {
		limit = bootstrapWatches
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[who.name] >= limit {
		return nil, apierrors.NewTooManyRequests(fmt.Sprintf("user %q has %d watches open, which is the limit", who.name, limit), 1)
	}
	if w.open == nil {
		w.open = map[string]int{}
	}
	w.open[who.name]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.open[who.name]--; w.open[who.name] == 0 {
			delete(w.open, who.name)
		}
	}, nil
}
