package limits

import (
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// How many watches an identity with few rights may have open. Each takes some 120 kB,
// and priority and fairness counts only their beginning. A joining machine watches its
// request for a second, a kubelet each Secret and ConfigMap of its pods.
const (
	bootstrapWatches = 1000
	nodeWatches      = 3000
)

// watchBudget keeps clients from taking all memory by watches. The zero value is ready.
type watchBudget struct {
	mu   sync.Mutex
	open map[string]int // by user
}

// begin counts a watch until end is called.
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
