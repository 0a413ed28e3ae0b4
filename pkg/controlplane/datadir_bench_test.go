// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// BenchmarkDurableCreate creates ConfigMaps on a durable control plane, through the
// in-process client, and puts values of the same size, under keys of the same form,
// to an etcd member on the same disk. The two take turns, so that both have the same
// machine. ratio is creates per put.
//
// b.TempDir, in which all is written, must be on a disk: TMPDIR chooses another.
func BenchmarkDurableCreate(b *testing.B) {
	for _, writers := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { durableCreate(b, writers) })
	}
}

func durableCreate(b *testing.B, writers int) {
	dir := b.TempDir()
	if onTmpfs(b, dir) {
		b.Skipf("%s is in memory: set TMPDIR to a directory on a disk", dir)
	}
	server := start(b, controlplane.Config{DataDir: filepath.Join(dir, "plane")})
	client := admin(b, server).CoreV1().ConfigMaps("default")
	member, err := etcd.Start(b.Context(), etcd.Config{Dir: filepath.Join(dir, "member")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = member.Close() }()

	create := func(i int64) error {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("object-%09d", i)}, Data: map[string]string{"key": "value"}}
		_, err := client.Create(context.Background(), c, metav1.CreateOptions{})
		return err
	}
	value := string(make([]byte, storedSize(b)))
	put := func(i int64) error {
		_, err := member.Client().Put(context.Background(), fmt.Sprintf("/registry/configmaps/default/object-%09d", i), value)
		return err
	}

	// Turns of some tenths of a second.
	turn := 100 * writers
	var created, spentCreating, spentPutting int64
	var creates, puts atomic.Int64
	b.ResetTimer()
	for left := b.N; left > 0; left -= turn {
		n := min(turn, left)
		spentCreating += inTurn(b, writers, n, &creates, create)
		spentPutting += inTurn(b, writers, n, &puts, put)
		created += int64(n)
	}
	perSecond := func(spent int64) float64 { return float64(created) / time.Duration(spent).Seconds() }
	b.ReportMetric(perSecond(spentCreating), "creates/s")
	b.ReportMetric(perSecond(spentPutting), "puts/s")
	b.ReportMetric(perSecond(spentCreating)/perSecond(spentPutting), "ratio")
	b.ReportMetric(0, "ns/op") // of both together
}

// inTurn does n writes with a number of writers, and returns the duration in nanoseconds.
func inTurn(b *testing.B, writers, n int, count *atomic.Int64, write func(int64) error) int64 {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	began := time.Now()
	for range writers {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := write(count.Add(1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return int64(time.Since(began))
}

// storedSize returns the size of such a ConfigMap in etcd, in bytes.
func storedSize(b *testing.B) int {
	b.Helper()
	server := start(b, controlplane.Config{})
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("object-%09d", 0)}, Data: map[string]string{"key": "value"}}
	c, err := admin(b, server).CoreV1().ConfigMaps("default").Create(b.Context(), c, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	c.ResourceVersion = ""
	data, err := c.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	const envelope = 4 + 2 + 2 + len("v1") + 2 + len("ConfigMap") + 3 + 2 + 2 // "k8s\0" and runtime.Unknown
	return len(data) + envelope
}
