package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/lifecycle/selfending"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestGroupWaitsForItsWork(t *testing.T) {
	var g lifecycle.Group
	release := make(chan struct{})
	if !g.Go(func() { <-release }) {
		t.Fatal("an open group refused work")
	}
	if err := g.Wait(ended()); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 still running") {
		t.Fatalf("Wait with running work: got %v", err)
	}
	close(release)
	if err := g.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestGroupRefusesWorkOnceClosed(t *testing.T) {
	var g lifecycle.Group
	g.Close()
	g.Close()
	if g.Go(func() { t.Error("work ran in a closed group") }) {
		t.Error("a closed group accepted work")
	}
	if _, ok := g.Begin(); ok {
		t.Error("a closed group accepted work")
	}
	if err := g.Wait(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestGroupUnderLoad(t *testing.T) {
	var g lifecycle.Group
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for {
				end, ok := g.Begin()
				if !ok {
					return
				}
				end()
				end() // counts once
			}
		})
	}
	if err := g.Wait(context.Background()); err != nil {
		t.Error(err)
	}
	callers.Wait()
}

func TestFamilyFindsGrandchildren(t *testing.T) {
	family, other := lifecycle.NewGoroutineSet(), lifecycle.NewGoroutineSet()
	release := make(chan struct{})
	started := make(chan struct{})
	family.Do(context.Background(), func() {
		go func() {
			go grandchild(started, release)
		}()
	})
	<-started
	if err := other.Wait(ended()); err != nil {
		t.Errorf("another set is not empty: %v", err)
	}
	if err := family.Wait(ended()); err == nil || !strings.Contains(err.Error(), "grandchild") {
		t.Errorf("the grandchild was not found: %v", err)
	}
	ends := selfending.Function{Package: "github.com/kubembed/kubembed/internal/lifecycle_test", Name: "grandchild"}
	selfending.Functions = append(selfending.Functions, ends)
	defer func() {
		selfending.Functions = slices.DeleteFunc(selfending.Functions, func(f selfending.Function) bool { return f == ends })
	}()
	if err := family.Wait(ended()); err != nil {
		t.Errorf("Wait waited for the self-ending grandchild: %v", err)
	}
	close(release)
	if err := family.Wait(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestFamilyLeavesTheCallerAlone(t *testing.T) {
	family := lifecycle.NewGoroutineSet()
	family.Do(context.Background(), func() {})
	done := make(chan struct{})
	defer close(done)
	started := make(chan struct{})
	go func() { close(started); <-done }()
	<-started
	if err := family.Wait(ended()); err != nil {
		t.Errorf("a goroutine started after Do belongs to the set: %v", err)
	}
}

func grandchild(started chan<- struct{}, release <-chan struct{}) {
	close(started)
	<-release
}
