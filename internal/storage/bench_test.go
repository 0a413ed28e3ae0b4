// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	configmapstore "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
)

// BenchmarkFillWatchCache fills the watch cache of 10,000 objects, by a stream and by
// pages.
func BenchmarkFillWatchCache(b *testing.B) {
	const objects = 10_000
	s := start(b)
	codec := legacyscheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion)
	data := map[string]string{"key": strings.Repeat("x", 2<<10)}
	for i := 0; i < objects; {
		var puts []clientv3.Op
		for range 500 {
			name := fmt.Sprintf("c-%05d", i)
			value, err := k8sruntime.Encode(codec, &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: data})
			if err != nil {
				b.Fatal(err)
			}
			puts = append(puts, clientv3.OpPut("/registry/configmaps/default/"+name, string(value)))
			i++
		}
		if _, err := s.client.Txn(b.Context()).Then(puts...).Commit(); err != nil {
			b.Fatal(err)
		}
	}
	gate := utilfeature.DefaultMutableFeatureGate
	was := utilfeature.DefaultFeatureGate.Enabled(features.EtcdRangeStream)
	defer func() { _ = gate.Set(fmt.Sprintf("%s=%v", features.EtcdRangeStream, was)) }()
	for _, stream := range []bool{true, false} {
		b.Run(fmt.Sprintf("stream=%v", stream), func(b *testing.B) {
			if err := gate.Set(fmt.Sprintf("%s=%v", features.EtcdRangeStream, stream)); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var most uint64
			for b.Loop() {
				b.StopTimer()
				runtime.GC()
				peak := heapPeak()
				b.StartTimer()
				configMaps, err := configmapstore.NewREST(s.getter(nil))
				if err != nil {
					b.Fatal(err)
				}
				for {
					list, err := configMaps.List(namespaced(b), nil)
					if err == nil {
						if n := len(list.(*core.ConfigMapList).Items); n != objects {
							b.Fatalf("%d objects", n)
						}
						break
					}
				}
				b.StopTimer()
				most = max(most, peak())
				configMaps.Destroy()
				b.StartTimer()
			}
			b.ReportMetric(float64(most)/(1<<20), "MB-peak")
		})
	}
}

// heapPeak returns a function that returns the largest growth of the heap until its call.
func heapPeak() func() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 { metrics.Read(sample); return sample[0].Value.Uint64() }
	base, most := read(), uint64(0)
	stop := make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				most = max(most, read())
			}
		}
	})
	return func() uint64 {
		close(stop)
		sampling.Wait()
		return most - min(base, most)
	}
}
