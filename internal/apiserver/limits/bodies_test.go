// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"context"
	"reflect"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	_ "k8s.io/kubernetes/pkg/controlplane" // registers the built-in types

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/internal/wire"
)

// The estimate for an element of JSON is at least the size of any type, with the garbage
// of the growing slice.
func TestNoElementIsLarger(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Pointer:
			walk(typ.Elem())
		case reflect.Map:
			walk(typ.Elem())
		case reflect.Slice:
			if size := int64(typ.Elem().Size()); 3*size > wire.Typed.Element {
				t.Errorf("an element of %s has %d bytes, more than a third of %d", typ, size, wire.Typed.Element)
			}
			walk(typ.Elem())
		case reflect.Struct:
			for field := range typ.Fields() {
				walk(field.Type)
			}
		}
	}
	for _, scheme := range schemes {
		for gvk, typ := range scheme.AllKnownTypes() {
			if typ.Kind() == reflect.Struct && gvk.Version != runtime.APIVersionInternal && !isList(typ) {
				walk(typ)
			}
		}
	}
	if len(seen) < 1000 {
		t.Errorf("only %d types", len(seen))
	}
}

// isList reports whether typ is a list of objects, which cannot be written.
func isList(typ reflect.Type) bool {
	_, items := typ.FieldByName("Items")
	return items
}

// Requests with large bodies wait for each other. A part is reserved for administrators,
// and small bodies never wait.
func TestBodyMemory(t *testing.T) {
	m := newBodyMemory(DefaultMaxBody)
	admin, user := requester{privileged: true}, requester{}
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	var held, more releases
	if err := m.acquire(soon(), user, 1<<40, &held); err != nil { // more than all, as the only body
		t.Fatal(err)
	}
	if err := m.acquire(soon(), user, 1<<20, &more); !apierrors.IsTooManyRequests(err) || more != nil {
		t.Errorf("a second body: %v", err)
	}
	if err := m.acquire(soon(), user, decodedFree, &more); err != nil || more != nil {
		t.Errorf("a small body: %v", err)
	}
	if err := m.acquire(soon(), admin, decodedAtOnce-decodedForOthers, &more); err != nil {
		t.Errorf("an administrator: %v", err)
	}
	if err := m.acquire(soon(), admin, 1<<20, &more); !apierrors.IsTooManyRequests(err) {
		t.Errorf("more than all: %v", err)
	}
	held.release()
	more.release()
	var all releases
	if err := m.acquire(soon(), admin, decodedAtOnce, &all); err != nil {
		t.Errorf("when all is given back: %v", err)
	}
	all.release()
	if err := m.acquire(soon(), user, decodedForOthers, &all); err != nil {
		t.Errorf("when all is given back: %v", err)
	}
}

// TestBodyMemoryOfLargerBodies: with a larger limit for bodies, the largest accepted body
// counts in full, and administrators have the same share.
func TestBodyMemoryOfLargerBodies(t *testing.T) {
	for _, maxBody := range []int64{MinMaxBody, DefaultMaxBody, MaxMaxBody} {
		m := newBodyMemory(maxBody)
		full := func(who requester) bool {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			var probe releases
			defer func() { probe.release() }()
			return apierrors.IsTooManyRequests(m.acquire(ctx, who, 1<<20, &probe))
		}
		var held releases
		largest := requester{}.costLimit(&request.RequestInfo{APIGroup: "example.com"}, maxBody).Bytes
		for _, taken := range []struct {
			who   requester
			bytes int64
			full  bool
		}{
			{requester{}, largest - 4<<20, false},
			{requester{}, 4 << 20, true},
			{requester{privileged: true}, largest/2 - 4<<20, false},
			{requester{privileged: true}, 4 << 20, true},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), testwait.Timeout)
			err := m.acquire(ctx, taken.who, taken.bytes, &held)
			cancel()
			if err != nil {
				t.Fatalf("%d: %d bytes: %v", maxBody, taken.bytes, err)
			}
			if got := full(taken.who); got != taken.full {
				t.Errorf("%d: after %d bytes: full: %t", maxBody, taken.bytes, got)
			}
		}
	}
}
