// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestJournal: the journal reports lost writes, and no write that was never
// acknowledged.
func TestJournal(t *testing.T) {
	j := &journal{objects: map[string]*written{
		"as acknowledged":  {acknowledged: 3, tried: 3},
		"without answer":   {acknowledged: 3, tried: 5},
		"never there":      {tried: 2},
		"older than told":  {acknowledged: 4, tried: 4},
		"gone":             {acknowledged: 1, tried: 1},
		"never written so": {acknowledged: 1, tried: 2},
	}}
	var list corev1.ConfigMapList
	for name, n := range map[string]string{
		"as acknowledged": "3", "without answer": "5", "older than told": "3", "never written so": "9", "of others": "x",
	} {
		list.Items = append(list.Items, corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"n": n}})
	}
	if lost := j.lost(&list); len(lost) != 3 {
		t.Errorf("lost are %v, want three", lost)
	}
}
