// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

// TestThousandLeases: the program has no more live memory, goroutines and descriptors for
// each control plane after a thousand leases than after some hundreds.
func TestThousandLeases(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	const leases, window = 1300, 300
	controlplanetest.New(t, controlplanetest.Config{}) // starts the program
	program := process(t)
	var all []use
	took := make([]time.Duration, 0, leases)
	for i := range leases {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			began := time.Now()
			cp := controlplanetest.New(t, controlplanetest.Config{})
			took = append(took, time.Since(began))
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "object"}, BinaryData: map[string][]byte{"x": make([]byte, 10<<10)}}
			must(kubernetes.NewForConfigOrDie(cp.ClientConfig()).CoreV1().ConfigMaps("default").Create(t.Context(), object, metav1.CreateOptions{}))(t)
		})
		if i%10 == 9 {
			all = append(all, useOf(t, program))
		}
	}
	// Control planes are replaced after a number of leases, so that all of it goes up and
	// down, and the first ones are young. A busy machine keeps more of them at a time:
	// hence the division. A leak of 100 kB a lease is 60 MB here, 20 MB for each of
	// three control planes.
	early, late := median(all[40:40+window/10]), median(all[len(all)-window/10:])
	slices.Sort(took)
	t.Logf("medians per control plane, of leases 400 to 700: %+v, in the last %d: %+v; New: p50 %s, p99 %s", early, window, late, took[leases/2], took[leases*99/100])
	if late.live > early.live+15 {
		t.Errorf("%d MB live per control plane, and %d after some hundred leases", late.live, early.live)
	}
	if late.goroutines > early.goroutines*5/4 {
		t.Errorf("%d goroutines per control plane, and %d after some hundred leases", late.goroutines, early.goroutines)
	}
	if late.files > early.files*5/4 {
		t.Errorf("%d descriptors per control plane, and %d after some hundred leases", late.files, early.files)
	}
}

// use is what the program uses for each of its control planes.
type use struct{ live, goroutines, files int }

func useOf(t *testing.T, program int) use {
	t.Helper()
	text := status(t)
	found := regexp.MustCompile(`process (\d+),.* \((\d+) MB live\), (\d+) goroutines`).FindStringSubmatch(text)
	if found == nil || found[1] != fmt.Sprint(program) {
		t.Fatalf("the program is not process %d: %q", program, found)
	}
	var u use
	must(fmt.Sscan(found[2], &u.live))(t)
	must(fmt.Sscan(found[3], &u.goroutines))(t)
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", program)) // on Linux
	planes := len(regexp.MustCompile(`(?m)^(coming|ready|leased) `).FindAllString(text, -1))
	if planes == 0 {
		t.Fatalf("no control planes: %s", text)
	}
	return use{live: u.live / planes, goroutines: u.goroutines / planes, files: len(files) / planes}
}

// median returns the median of each.
func median(all []use) use {
	middle := func(value func(use) int) int {
		values := make([]int, 0, len(all))
		for _, u := range all {
			values = append(values, value(u))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return use{
		live:       middle(func(u use) int { return u.live }),
		goroutines: middle(func(u use) int { return u.goroutines }),
		files:      middle(func(u use) int { return u.files }),
	}
}
