// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/lifecycle/selfending"
)

func TestGoroutineSetFindsGrandchildren(t *testing.T) {
	set, other := lifecycle.NewGoroutineSet(), lifecycle.NewGoroutineSet()
	release := make(chan struct{})
	started := make(chan struct{})
	set.Do(context.Background(), func() {
		go func() {
			go grandchild(started, release)
		}()
	})
	<-started
	if err := other.Wait(ended()); err != nil {
		t.Errorf("another set is not empty: %v", err)
	}
	if err := set.Wait(ended()); err == nil || !strings.Contains(err.Error(), "grandchild") {
		t.Errorf("the grandchild was not found: %v", err)
	}
	ends := selfending.Function{Package: "github.com/kubembed/kubembed/internal/lifecycle_test", Name: "grandchild"}
	selfending.Functions = append(selfending.Functions, ends)
	defer func() {
		selfending.Functions = slices.DeleteFunc(selfending.Functions, func(f selfending.Function) bool { return f == ends })
	}()
	if err := set.Wait(ended()); err != nil {
		t.Errorf("Wait waited for the self-ending grandchild: %v", err)
	}
	close(release)
	if err := set.Wait(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestGoroutineSetExcludesTheCaller(t *testing.T) {
	set := lifecycle.NewGoroutineSet()
	set.Do(context.Background(), func() {})
	done := make(chan struct{})
	defer close(done)
	started := make(chan struct{})
	go func() { close(started); <-done }()
	<-started
	if err := set.Wait(ended()); err != nil {
		t.Errorf("a goroutine started after Do belongs to the set: %v", err)
	}
}

func grandchild(started chan<- struct{}, release <-chan struct{}) {
	close(started)
	<-release
}
