// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package dbcheck

import (
	"math/rand/v2"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// TestCheckMessage damages a record of etcd at random: checkMessage refuses exactly the
// messages that etcd cannot unmarshal.
func TestCheckMessage(t *testing.T) {
	whole, err := proto.Marshal(&mvccpb.KeyValue{
		Key: []byte("/registry/pods/default/p"), Value: make([]byte, 200), CreateRevision: 1 << 40, ModRevision: 1<<40 + 1, Version: 3, Lease: 1 << 60,
	})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 100_000 {
		data := append([]byte(nil), whole[:1+random.IntN(len(whole))]...)
		for range random.IntN(3) {
			data[random.IntN(min(len(data), 40))] = byte(random.IntN(256))
		}
		want, got := proto.Unmarshal(data, &mvccpb.KeyValue{}), checkMessage(data)
		if (want == nil) != (got == nil) {
			t.Fatalf("%x: %v, want %v", data, got, want)
		}
		if got != nil {
			refused++
		}
	}
	if refused == 0 || refused == 100_000 {
		t.Errorf("refused %d", refused)
	}
	if err := checkMessage(whole); err != nil {
		t.Error(err)
	}
}
